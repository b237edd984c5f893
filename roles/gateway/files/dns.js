// nginx believes an answer of Docker's DNS for whole seconds, and begins a new one first: it asks every two at best. So the same is asked
// from here in between: an answer that nginx has already is held back for a while, and goes to it as soon as it changes.

const HELD_MS = 3000; // less than resolver_timeout
const PAUSE_MS = 100;
const NO_ERROR = 0;

// Where a name that begins at a place ends: after its root, or after a pointer to another name (RFC 1035, 4.1.4).
function nameEnd(message, place) {
    while (message[place] > 0 && message[place] < 0xc0) {
        place += message[place] + 1;
    }
    return place + (message[place] ? 2 : 1);
}

// What a message answers to its only question, in an order of its own.
function said(message) {
    const answers = [];
    let place = nameEnd(message, 12) + 4;
    for (let left = message.readUInt16BE(6); left; left--) {
        const data = nameEnd(message, place) + 10;
        place = data + message.readUInt16BE(data - 2);
        answers.push(message.toString('hex', data, place));
    }
    return answers.sort().join();
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
    s.on('downstream', (data, flags) => {
        // Names that Docker does not know it asks others for, who are not to be asked that often.
        if (data.length > 12 && (data[3] & 0x0f) === NO_ERROR) {
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

export default { hold };
