// nginx believes an answer of Docker's DNS for whole seconds, and begins a new one first: it asks every two at best. So the same is asked
// from here in between: an answer that nginx has already is held back for a while, and goes to it as soon as it changes. A task that steps
// aside is left out of it.

const HELD_MS = 3000; // less than resolver_timeout
const PAUSE_MS = 100;
const ASIDE_MS = 3000; // a task says so again every second or so
const NO_ERROR = 0;
const ADDRESS = 1; // type of an IPv4 address

// Where a name that begins at a place ends: after its root, or after a pointer to another name (RFC 1035, 4.1.4).
function nameEnd(message, place) {
    while (message[place] > 0 && message[place] < 0xc0) {
        place += message[place] + 1;
    }
    return place + (message[place] ? 2 : 1);
}

// What a message answers to its only question: where each answer begins, has its data, and ends.
function answers(message) {
    const found = [];
    let place = nameEnd(message, 12) + 4;
    for (let left = message.readUInt16BE(6); left; left--) {
        const begin = place;
        const data = nameEnd(message, begin) + 10;
        place = data + message.readUInt16BE(data - 2);
        found.push({ begin, data, end: place });
    }
    return found;
}

// The same in an order of its own.
function said(message) {
    return answers(message).map((each) => message.toString('hex', each.data, each.end)).sort().join();
}

function isAside(message, each) {
    const until = message.readUInt16BE(each.data - 10) === ADDRESS
        && ngx.shared.dns.get(`aside ${message.slice(each.data, each.end).join('.')}`);
    return until && Date.now() < Number(until);
}

// The message without the tasks that step aside, unless that were all.
function others(message) {
    const found = answers(message);
    const kept = found.filter((each) => !isAside(message, each));
    if (!kept.length || kept.length === found.length) {
        return message;
    }
    const parts = [message.slice(0, found[0].begin)]
        .concat(kept.map((each) => message.slice(each.begin, each.end)), message.slice(found[found.length - 1].end));
    const shorter = Buffer.concat(parts);
    shorter.writeUInt16BE(kept.length, 6);
    return shorter;
}

// A task steps aside by connecting; nobody can have another one do so.
function aside(s) {
    ngx.shared.dns.set(`aside ${s.remoteAddress}`, String(Date.now() + ASIDE_MS));
    s.allow();
}

// What was said last is known by who has asked: a worker that is new has to hear it at once.
function hold(s) {
    const known = ngx.shared.dns;
    const who = `${s.remoteAddress}:${s.variables.remote_port}`;
    let query, asked;
    s.on('upstream', (data, flags) => {
        query = Buffer.from(data);
        asked = Date.now();
        s.send(data, flags);
    });
    s.on('downstream', (message, flags) => {
        let data = message;
        // Names that Docker does not know it asks others for, who are not to be asked that often.
        if (data.length > 12 && (data[3] & 0x0f) === NO_ERROR) {
            data = others(message);
            const answer = said(data);
            if (known.get(who) === answer && Date.now() < asked + HELD_MS) {
                setTimeout(() => s.sendUpstream(query, { flush: true }), PAUSE_MS);
                return;
            }
            known.set(who, answer);
        } else {
            known.delete(who);
        }
        s.send(data, flags);
    });
}

export default { hold, aside };
