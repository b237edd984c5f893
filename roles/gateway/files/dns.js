// Docker's DNS says of its answers that they hold for 600 seconds. nginx can be told otherwise, but in whole seconds of which it begins
// a new one first: it then asks every two. An answer that is outdated when it comes has it ask every second.

// Where a name that begins at a place ends: after its root, or after a pointer to another name (RFC 1035, 4.1.4).
function nameEnd(message, place) {
    while (message[place] > 0 && message[place] < 0xc0) {
        place += message[place] + 1;
    }
    return place + (message[place] ? 2 : 1);
}

// Sets the times to live of a message's answers to 0.
function outdate(message) {
    let place = 12;
    for (let left = message.readUInt16BE(4); left; left--) {
        place = nameEnd(message, place) + 4;
    }
    for (let left = message.readUInt16BE(6); left; left--) {
        place = nameEnd(message, place);
        message.writeUInt32BE(0, place + 4);
        place += 10 + message.readUInt16BE(place + 8);
    }
}

// A datagram is one message; over TCP, where answers go that are too long for one (30 servers), its length comes before it.
function answers(s) {
    let received = Buffer.alloc(0);
    s.on('downstream', (data, flags) => {
        if (s.variables.protocol === 'UDP') {
            outdate(data);
            s.send(data, flags);
            return;
        }
        received = Buffer.concat([received, data]);
        if (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
            outdate(received.subarray(2));
            s.send(received, flags);
            received = Buffer.alloc(0);
        }
    });
}

export default { answers };
