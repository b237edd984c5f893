// What nginx's own variables cannot say: who asks, for which model, and how the tries went.
import crypto from 'crypto';

// SHA-256 of the bearer token, in hexadecimal; empty without one. Keys are known by it, so none is stored.
function keyHash(r) {
    const token = /^Bearer +([!-~]+)$/i.exec(r.headersIn.Authorization || '');
    return token ? crypto.createHash('sha256').update(token[1]).digest('hex') : '';
}

// The model that the request's JSON body names; empty if there is none, or the body is too large to lie in memory.
function model(r) {
    try {
        const text = r.requestText;
        const first = /^\s*\{\s*"model"\s*:\s*"([^"\\]{1,200})"/.exec(text.slice(0, 512));
        const name = first ? first[1] : JSON.parse(text).model;
        return typeof name === 'string' ? name.slice(0, 200) : '';
    } catch (_) {
        return '';
    }
}

// nginx writes "a, b : c" for tries at a and b and, after an internal redirect, at c. An upstream's own name stands for
// "there was none to try".
function list(value) {
    return (value || '').split(/, | : /);
}

function tried(r) {
    return list(r.variables.upstream_addr).filter((address) => address.includes(':'));
}

function tries(r) {
    return tried(r).length;
}

// Address of the server that gave the answer, or was tried last.
function server(r) {
    const addresses = tried(r);
    return addresses.length ? addresses[addresses.length - 1] : '';
}

// Seconds from the first try to the first byte of the answer, or null.
function firstByte(r) {
    const whole = list(r.variables.upstream_response_time).map(Number);
    const header = Number(list(r.variables.upstream_header_time).pop() || NaN);
    const seconds = whole.slice(0, -1).reduce((sum, part) => sum + (part || 0), header);
    return isNaN(seconds) ? 'null' : seconds.toFixed(3);
}

// For the exporter: a line for each server that was tried in vain.
function failed(r) {
    return tried(r).slice(0, -1)
        .map((address) => `failed model=${r.variables.gateway_known_model} upstream=${address}\n`).join('');
}

export default { keyHash, model, tries, server, firstByte, failed };
