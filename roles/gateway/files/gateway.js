// What nginx's own variables cannot say: who asks, how the tries went, and whether there is another one.
import crypto from 'crypto';
import policy from '/gpuswarm/policy.js';

// SHA-256 of the client's key, in hexadecimal; empty without one. Keys are known by it, so none is stored. Clients of the API of
// Anthropic send it as x-api-key; some send both.
function keyHash(r) {
    const token = /^Bearer +([!-~]+)$/i.exec(r.headersIn.Authorization || '');
    const key = token ? token[1] : r.headersIn['X-Api-Key'];
    return key ? crypto.createHash('sha256').update(key).digest('hex') : '';
}

// nginx writes "a, b : c" for tries at a and b and, after an internal redirect, at c. An upstream's own name stands for
// "there was none to try".
function list(value) {
    return (value || '').split(/, | : /);
}

// A stream's are known by the server that reads it (nginx.conf).
function tried(r) {
    return list(r.variables.upstream_http_x_gateway_servers || r.variables.upstream_addr).filter((address) => /:\d+$/.test(address));
}

function tries(r) {
    return tried(r).length;
}

// After an answer that another server may better: it is full (503), its model's process has crashed (500), or there was no server that is
// not marked as down. A request that kills whoever answers it reaches as many servers as any other, and no more.
// One that is full has not begun, and does not count.
function again(r) {
    const full = list(r.variables.upstream_status).filter((status) => status === '503').length;
    const left = policy.tries - Math.max(0, tries(r) - full);
    if (left > 0) {
        r.internalRedirect(`@any_${left}`);
    } else {
        r.return(503);
    }
}

// Address of the server that gave the answer, or was tried last.
function server(r) {
    const addresses = tried(r);
    return addresses.length ? addresses[addresses.length - 1] : '';
}

// Seconds from the first try to the first byte of the answer, or null.
function firstByte(r) {
    if (!tries(r)) {
        return 'null';
    }
    const whole = list(r.variables.upstream_response_time).map(Number);
    const header = Number(list(r.variables.upstream_header_time).pop() || NaN);
    const seconds = whole.slice(0, -1).reduce((sum, part) => sum + (part || 0), header);
    return isNaN(seconds) ? 'null' : seconds.toFixed(3);
}

// For the exporter: a line for each server that was tried without success.
function failed(r) {
    return tried(r).slice(0, -1)
        .map((address) => `failed model=${r.variables.gateway_known_model} upstream=${address}\n`).join('');
}

// Requests that have arrived and not ended, when this one has. A stream is a request to the server that reads it, too.
function inFlight(r) {
    ngx.shared.streams.delete(r.variables.request_id);
    return String(Math.max(0, Number(r.variables.connections_writing) - ngx.shared.streams.size()));
}

export default { keyHash, tries, again, server, firstByte, failed, inFlight };
