// What of a request's body reaches Ollama. One client's options must not reload, move or unload a model for everybody else.
import policy from '/gpuswarm/policy.js';

// Go compares the names of JSON fields without regard to case, and takes these two letters for k and s (encoding/json's foldName).
function fold(name) {
    return name.toLowerCase().replace(/\u212a/g, 'k').replace(/\u017f/g, 's');
}

// Ollama takes a model's name in any case, with or without its registry, "library" and ":latest".
function normal(name) {
    const short = name.toLowerCase().replace(/^registry\.ollama\.ai\//, '').replace(/^library\//, '');
    return /:[^/]*$/.test(short) ? short : `${short}:latest`;
}

const SERVED = policy.models.map(normal);
const TOP = { model: true, options: true, keep_alive: true, stream: true };
const STREAMS = /^\/api\/(generate|chat)$/; // unless they are told not to; all others if they are told to
const OPTIONS = policy.options; // by name: allow, ignore or refuse

function has(object, name) {
    return Object.prototype.hasOwnProperty.call(object, name);
}

// --- the body, member by member: what is not looked at passes byte for byte, whatever its size and depth. ---

function afterSpace(text, at) {
    while (at < text.length && ' \t\r\n'.indexOf(text[at]) >= 0) {
        at++;
    }
    return at;
}

// at: where the opening quote is.
function afterString(text, at) {
    let end = at;
    for (;;) {
        end = text.indexOf('"', end + 1);
        if (end < 0) {
            throw new SyntaxError('a string does not end');
        }
        let escapes = 0;
        while (text[end - 1 - escapes] === '\\') {
            escapes++;
        }
        if (escapes % 2 === 0) {
            return end + 1;
        }
    }
}

function afterValue(text, at) {
    if (text[at] === '"') {
        return afterString(text, at);
    }
    if (text[at] !== '{' && text[at] !== '[') {
        const end = /[,}\]\s]/g;
        end.lastIndex = at;
        const found = end.exec(text);
        if (!found || found.index === at) {
            throw new SyntaxError(`a value is missing at ${at}`);
        }
        return found.index;
    }
    const mark = /["{}[\]]/g;
    let depth = 0;
    mark.lastIndex = at;
    for (;;) {
        const found = mark.exec(text);
        if (!found) {
            throw new SyntaxError('an object or a list does not end');
        }
        if (found[0] === '"') {
            mark.lastIndex = afterString(text, found.index);
        } else if (found[0] === '{' || found[0] === '[') {
            depth++;
        } else if (--depth === 0) {
            return found.index + 1;
        }
    }
}

// The members of the object that is the whole text: their names, and where each and its value lie.
function members(text) {
    const found = [];
    let at = afterSpace(text, 0);
    if (text[at] !== '{') {
        throw new SyntaxError('it must be an object');
    }
    at = afterSpace(text, at + 1);
    while (text[at] !== '}' || found.length) {
        const begin = at;
        if (text[at] !== '"') {
            throw new SyntaxError(`a name is missing at ${at}`);
        }
        at = afterString(text, at);
        const name = JSON.parse(text.slice(begin, at));
        at = afterSpace(text, at);
        if (text[at] !== ':') {
            throw new SyntaxError(`a colon is missing at ${at}`);
        }
        const value = afterSpace(text, at + 1);
        const end = afterValue(text, value);
        found.push({ name, begin, value, end });
        at = afterSpace(text, end);
        if (text[at] === '}') {
            break;
        }
        if (text[at] !== ',') {
            throw new SyntaxError(`a comma is missing at ${at}`);
        }
        at = afterSpace(text, at + 1);
    }
    if (afterSpace(text, at + 1) !== text.length) {
        throw new SyntaxError('there is something after it');
    }
    return found;
}

// Those of the members that have these names, by name. Ollama would understand other spellings, and join what stands twice.
function guarded(found, names, shown) {
    const those = {};
    found.forEach((member) => {
        const name = fold(member.name);
        if (!has(names, name)) {
            return;
        }
        if (name !== member.name) {
            throw new SyntaxError(`${JSON.stringify(shown + member.name)} must be written ${shown}${name}`);
        }
        if (has(those, name)) {
            throw new SyntaxError(`${shown}${name} must not stand twice`);
        }
        those[name] = member;
    });
    return those;
}

// The text of an object with some of its members only, one of which may have another value.
function written(text, kept, changed, value) {
    const texts = kept.map((member) => (
        member === changed ? text.slice(member.begin, member.value) + value : text.slice(member.begin, member.end)
    ));
    return `{${texts.join(',')}}`;
}

// --- what the operator says of it ---

function Refusal(status, error, model) {
    this.status = status;
    this.error = error;
    this.model = model || '';
}

// Those of the guarded members that are left out.
function left(those, shown) {
    return Object.keys(those).filter((name) => {
        if (OPTIONS[name] === 'refuse') {
            throw new Refusal(400, `${shown}${name} is the operator's to set, leave it out`);
        }
        return OPTIONS[name] === 'ignore';
    });
}

function modelOf(text, member, runs) {
    if (!member) {
        return '';
    }
    if (text[member.value] !== '"') {
        throw new Refusal(400, 'model must be a string');
    }
    const model = JSON.parse(text.slice(member.value, member.end));
    if (runs && model && SERVED.length && SERVED.indexOf(normal(model)) < 0) {
        const name = model.slice(0, 200);
        throw new Refusal(404, `model '${name}' not found: the gateway serves ${policy.models.join(', ')}`, name);
    }
    return model.slice(0, 200);
}

// The options without those that are left out, and the names of these.
function admitOptions(text) {
    if (text === 'null') {
        return { text, ignored: [] };
    }
    if (text[0] !== '{') {
        throw new Refusal(400, 'options must be an object');
    }
    const found = members(text);
    const those = guarded(found, OPTIONS, 'options.');
    const ignored = left(those, 'options.');
    const kept = found.filter((member) => ignored.indexOf(member.name) < 0);
    return { text: written(text, kept), ignored: ignored.map((name) => `options.${name}`) };
}

// The body as it is passed on, the model, and what was left out. Throws a Refusal.
function admit(text, runs) {
    try {
        const found = members(text);
        const top = guarded(found, TOP, '');
        const model = modelOf(text, top.model, runs);
        const options = top.options ? admitOptions(text.slice(top.options.value, top.options.end)) : { ignored: [] };
        const own = left(top.keep_alive ? { keep_alive: true } : {}, '');
        const ignored = own.concat(options.ignored);
        const kept = found.filter((member) => own.indexOf(member.name) < 0);
        const body = ignored.length ? written(text, kept, top.options, options.text) : text;
        const stream = top.stream && text.slice(top.stream.value, top.stream.end);
        return { body, model, ignored: ignored.join(', '), stream };
    } catch (error) {
        throw error instanceof Refusal ? error : new Refusal(400, `the body must be a JSON object: ${error.message}`);
    }
}

// Content handler of the endpoints: checks the body, and hands the request over to the proxy.
function pass(r) {
    const encoding = (r.headersIn['Content-Encoding'] || 'identity').toLowerCase();
    if (encoding !== 'identity') {
        r.return(415);
        return;
    }
    let streams = false;
    if (r.method === 'POST') {
        let text;
        try {
            text = r.requestText || '';
        } catch (_) {
            r.return(413); // it is in a file, which an older nginx cannot read
            return;
        }
        if (text) {
            try {
                const admitted = admit(text, r.variables.gateway_runs === '1');
                r.variables.gateway_body = admitted.body;
                r.variables.gateway_model = admitted.model;
                r.variables.gateway_ignored = admitted.ignored;
                streams = STREAMS.test(r.uri) ? admitted.stream !== 'false' : admitted.stream === 'true';
            } catch (refusal) {
                r.variables.gateway_model = refusal.model;
                r.headersOut['Content-Type'] = 'application/json';
                r.return(refusal.status, JSON.stringify({ error: refusal.error }));
                return;
            }
        }
    }
    if (streams && ngx.shared.streams) {
        ngx.shared.streams.set(r.variables.request_id, '');
    }
    r.internalRedirect(streams ? '@stream' : '@models');
}

export default { pass };
