# SPDX-License-Identifier: Apache-2.0
"""`make bench-gateway`: the gateway beside others, before the same Ollama servers, in one run.

Writes build/bench/gateway.json and a table; exits 0 only when every goal is met. What it measures depends on the
machine and on what else runs there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from lab.gpuswarm_lab.engine import install_packages
from lab.gpuswarm_lab.steps import StepLog
from tests.bed.bed import (
    Bed,
    Dns,
    Exporter,
    Gateway,
    Ollama,
    Process,
    bed,
    gateway_files,
    run_plays,
    server_files,
)
from tests.bench.goals import Goal, goal, machine, told
from tests.kit.answers import MODEL, Answer, Figures, upstreams
from tests.kit.paths import BUILD
from tests.kit.processes import below, pss_mib
from tests.kit.waiting import until

HERE = Path(__file__).parent
OUTPUT = BUILD / "bench"
LITELLM = OUTPUT / "litellm"
SERVICE = "tasks.gpuswarm_ollama"
# Swarm, measured: a vanished worker's tasks leave DNS after this time.
LEAVES_DNS_S = 6.0
# About what the recovery loop needs to bring a preempted server back (docs/benchmarks.md).
AWAY_S = 20.0
# The tiny model answers within milliseconds, a real one within seconds, and always has requests in work when its server
# vanishes. So a server stands still for a moment before it does.
IN_WORK_S = 0.3
# More than a stream of the tiny model lasts.
STREAM_S = 0.5
ADDED_P95_MS = 2.0
CLOSE_P95_MS = 1.0
WORST_S = 1.5
MEMORY_MB = 100.0
STREAMS = 1000
HUNG_S = 15.0
RESTART_DELAY_S = 2.0  # restart_policy of the service
ABANDONED = 200
HEADER_LINES = 8  # about
QUESTIONS = 300
ANSWERED_WITHIN_S = 5.0
# A polite client has a neighbour: so many workers, each with a request every so often, of so many tokens.
NEIGHBOURS = 4
NEIGHBOUR_PAUSE_S = 0.2
NEIGHBOUR_TOKENS = 40
POLITE_RATE = 10.0
BESIDE_S = 8.0
POLITE_RATIO = 1.2
# All clients have one address.
OURS = {"gateway_tls": False, "gateway_served_by_header": True, "gateway_concurrency_per_address": 0}


@dataclass
class Row:
    """What was measured of one gateway."""

    name: str
    added_ms: dict[str, float] = field(default_factory=dict)
    requests_per_second: float = 0.0
    asked: int = 0
    failed_before: int = 0
    failed_after: int = 0
    worst_s: float = 0.0
    back_s: list[float] = field(default_factory=list)
    busiest_share: float = 0.0
    memory_mb: float = 0.0
    hung_s: float = math.inf
    replaced_s: float = math.inf
    unanswered: int = 0
    impolite_failures: int = 0
    impolite_ratio: float = math.inf


@dataclass(frozen=True)
class Target:
    """A gateway, or a server itself; LiteLLM speaks the OpenAI style only."""

    name: str
    address: str
    port: int
    process: Process | None = None
    openai: bool = False


@dataclass(frozen=True)
class Question:
    """What is asked."""

    tokens: int
    stream: bool

    def bytes_for(self, target: Target) -> bytes:
        """As bytes of HTTP."""
        return posted(target, json.dumps(self.body_for(target)))

    def body_for(self, target: Target) -> dict[str, Any]:
        """As an object."""
        asked: dict[str, Any] = {"model": MODEL, "prompt": "hello", "stream": self.stream}
        return asked | ({"max_tokens": self.tokens} if target.openai else {"options": {"num_predict": self.tokens}})

    def is_answered(self, target: Target, text: bytes) -> bool:
        """Whether the answer has its end."""
        if not target.openai:
            return b'"done":true' in text
        return b"data: [DONE]" in text if self.stream else b'"finish_reason"' in text


def posted(target: Target, body: str, *headers: str) -> bytes:
    """A body as bytes of HTTP."""
    text = body.encode()
    path = "/v1/completions" if target.openai else "/api/generate"
    head = (
        f"POST {path} HTTP/1.1", "Host: bench", "Connection: close", "Content-Type: application/json",
        *headers, f"Content-Length: {len(text)}", "", "",
    )  # fmt: skip
    return "\r\n".join(head).encode() + text


def upstreams_of(head: str) -> tuple[str, ...]:
    """Addresses of the servers that were tried, out of the answer's header."""
    for line in head.splitlines():
        name, _, value = line.partition(": ")
        if name.lower() in ("x-served-by", "x-litellm-model-api-base"):
            return upstreams(value.removeprefix("http://"))
    return ()


async def ask(target: Target, question: Question, limit: float = 60) -> Answer:
    """Send a request on a connection of its own and read the answer to its end, on a bare socket.

    A client library would take longer than what is measured. Times are monotonic.
    """
    request = question.bytes_for(target)
    began = time.monotonic()
    first: float | None = None
    text = b""
    tried: tuple[str, ...] = ()
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(limit):
            reader, writer = await asyncio.open_connection(target.address, target.port)
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                first = time.monotonic() if head.startswith(b"HTTP/1.1 200 ") else None
                tried = upstreams_of(head.decode())
                text = await reader.read()
                while part := await reader.read():
                    text += part
            finally:
                writer.close()
    complete = first is not None and question.is_answered(target, text)
    return Answer(began, first, time.monotonic(), complete, tried)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The median, and what 95 and 99 of 100 do not exceed."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}


async def latency(direct: Target, gateways: Sequence[Target], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds that each gateway adds to a small answer. All take turns, so that the machine's mood meets all."""
    targets = [direct, *gateways]
    times: dict[str, list[float]] = {target.name: [] for target in targets}
    order = random.Random(1)  # noqa: S311 (the same order every time)
    for number in range(rounds + 10):
        order.shuffle(targets)  # nobody always comes after the same one
        for target in targets:
            answer = await ask(target, Question(1, stream=False))
            if number >= 10 and answer.complete:
                times[target.name].append(answer.seconds * 1000)
    base = percentiles(times[direct.name])
    return {
        target.name: {name: value - base[name] for name, value in percentiles(times[target.name]).items()}
        for target in gateways
    }


async def throughput(target: Target, seconds: float) -> float:
    """Small answers a second to eight clients."""
    end = time.monotonic() + seconds

    async def client() -> int:
        done = 0
        while time.monotonic() < end:
            done += (await ask(target, Question(1, stream=False))).complete
        return done

    return sum(await asyncio.gather(*(client() for _ in range(8)))) / seconds


class Swarm:
    """What Swarm does for DNS: a vanished server leaves after a while, one that is back enters when it is healthy."""

    def __init__(self, dns: Sequence[Dns], servers: Sequence[Ollama]) -> None:
        self.dns = dns
        self.servers = servers
        self.no_streams = threading.Event()
        # One thread for all of its work: what it starts ends with the thread that started it.
        self.thread = ThreadPoolExecutor(1)
        self.publish(servers)

    def publish(self, servers: Sequence[Ollama]) -> None:
        """Have all gateways' DNS name these."""
        for dns in self.dns:
            dns.publish(SERVICE, [server.node.address for server in servers])

    def vanish(self, lost: Ollama) -> float:
        """Switch a server off for some time, without a word; returns when it was back, with an Ollama that starts.

        No stream runs when it goes: one that is cut no gateway can mend, and whose it is were chance.
        """
        self.no_streams.set()
        time.sleep(STREAM_S)
        with lost.frozen():
            time.sleep(IN_WORK_S)
            lost.node.vanish()
        self.no_streams.clear()
        lost.process.kill()
        time.sleep(LEAVES_DNS_S)
        self.publish([server for server in self.servers if server is not lost])
        time.sleep(AWAY_S - LEAVES_DNS_S)
        lost.node.come_back()
        back = time.monotonic()
        lost.restart()
        admit(lost)
        self.publish(self.servers)
        return back


def admit(server: Ollama) -> None:
    """Ask a server that starts for its health as Docker does, until it has some."""
    pause = int(server.service["healthcheck"]["interval"].removesuffix("ms")) / 1000
    pace = server.service["environment"]["GPUSWARM_HEALTH_SECONDS"]
    time.sleep(pause)
    until("the server is healthy", lambda: server.health(GPUSWARM_HEALTH_SECONDS=pace)[0], 180, pause)


async def bad_weather(
    swarm: Swarm, gateways: Sequence[Target], rows: dict[str, Row], *, times: int, rate: float
) -> None:
    """Steady load on every gateway, every other request streamed, while servers vanish and return."""
    questions = [Question(8, stream=False), Question(8, stream=True)]
    answers: dict[str, list[Answer]] = {target.name: [] for target in gateways}
    over = asyncio.Event()

    async def one(target: Target, question: Question) -> None:
        answers[target.name].append(await ask(target, question))

    async def load(target: Target) -> None:
        tasks, number, began = [], 0, time.monotonic()
        while not over.is_set():
            streamed = number % 2 and not swarm.no_streams.is_set()
            tasks.append(asyncio.create_task(one(target, questions[streamed])))
            number += 1
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        await asyncio.gather(*tasks)

    running = [asyncio.create_task(load(target)) for target in gateways]
    await asyncio.sleep(3)
    returns = []
    for number in range(times):
        lost = swarm.servers[number % len(swarm.servers)]
        back = await asyncio.get_running_loop().run_in_executor(swarm.thread, swarm.vanish, lost)
        await asyncio.sleep(10)
        returns.append((lost.node.address, back))
    over.set()
    await asyncio.gather(*running)
    for target in gateways:
        row, seen = rows[target.name], answers[target.name]
        found = Figures(seen)
        row.asked, row.failed_before, row.failed_after = found.asked, found.failed, found.cut
        row.worst_s = found.worst_s
        for address, back in returns:
            later = [a.ended - back for a in seen if a.complete and a.server == address and a.asked > back]
            row.back_s.append(min(later, default=60.0))


async def evenness(target: Target, servers: Sequence[Ollama]) -> float:
    """Share of all tokens that the busiest of three servers made, of long and short answers at once; 1/3 is even."""
    waiting = asyncio.Semaphore(6)
    made: Counter[str] = Counter()

    async def one(number: int) -> None:
        tokens = 200 if number % 4 == 0 else 8
        async with waiting:
            # LiteLLM names the server in whole answers only.
            made[(await ask(target, Question(tokens, stream=not target.openai))).server] += tokens

    await asyncio.gather(*(one(number) for number in range(120)))
    return max(made[server.node.address] for server in servers) / sum(made.values())


async def abandoned(target: Target) -> int:
    """How many small questions have no answer in time, after streams whose clients left them at once or soon."""
    leaving, asking = asyncio.Semaphore(24), asyncio.Semaphore(8)
    request = Question(40, stream=True).bytes_for(target)

    async def leave(lines: int) -> None:
        async with leaving:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(ANSWERED_WITHIN_S):
                    reader, writer = await asyncio.open_connection(target.address, target.port)
                    try:
                        writer.write(request)
                        for _ in range(HEADER_LINES + lines if lines else 1):
                            await reader.readline()
                    finally:
                        writer.close()

    async def is_answered() -> bool:
        async with asking:
            return (await ask(target, Question(1, stream=False), ANSWERED_WITHIN_S)).complete

    await asyncio.gather(*(leave(number % 3) for number in range(ABANDONED)))
    return QUESTIONS - sum(await asyncio.gather(*(is_answered() for _ in range(QUESTIONS))))


def rude_requests(target: Target) -> list[tuple[bytes, int | None]]:
    """What a client may do to others, and how many lines of the answer it reads (None: all of them)."""
    body = Question(NEIGHBOUR_TOKENS, stream=True).body_for(target)
    options = body.get("options", {})
    last = {name: body[name] for name in reversed(body)}
    return [
        (posted(target, json.dumps({**body, "keep_alive": 0})), None),
        (posted(target, json.dumps({**body, "options": {**options, "num_ctx": 512}})), None),
        (posted(target, json.dumps({**body, "options": {**options, "num_gpu": 0, "num_thread": 1}})), None),
        (posted(target, json.dumps({"model": MODEL, "keep_alive": 0})), None),
        (posted(target, json.dumps({**body, "model": "nobody-has-this"})), None),
        (posted(target, " " * 100_000 + json.dumps(last)), HEADER_LINES),
        (posted(target, json.dumps(body)[:-1] + ', "keep_alive": 0, "keep_alive": 0}'), None),
        (posted(target, json.dumps(body), "Content-Encoding: gzip"), None),
        (posted(target, json.dumps(body)), 0),
        (posted(target, json.dumps(body)), HEADER_LINES + 2),
    ]


async def neighbour(target: Target, requests: Sequence[tuple[bytes, int | None]], over: asyncio.Event) -> None:
    """Make these requests in turn, at a steady pace, until it is over."""
    number = 0
    while not over.is_set():
        began = time.monotonic()
        request, lines = requests[number % len(requests)]
        number += 1
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(target.address, target.port)
                try:
                    writer.write(request)
                    if lines is None:
                        while await reader.read(65536):
                            pass
                    for _ in range(lines or 0):
                        await reader.readline()
                finally:
                    writer.close()
        await asyncio.sleep(max(0.0, began + NEIGHBOUR_PAUSE_S - time.monotonic()))


async def beside(target: Target, requests: Sequence[tuple[bytes, int | None]]) -> list[Answer]:
    """The answers of a polite client whose neighbour makes these requests."""
    over = asyncio.Event()
    others = [
        asyncio.create_task(neighbour(target, [*requests[place:], *requests[:place]], over))
        for place in range(NEIGHBOURS)
    ]
    began = time.monotonic()
    asked = []
    for number in range(int(POLITE_RATE * BESIDE_S)):
        asked.append(asyncio.create_task(ask(target, Question(8, stream=True), 30)))
        await asyncio.sleep(max(0.0, began + number / POLITE_RATE - time.monotonic()))
    answers = list(await asyncio.gather(*asked))
    over.set()
    await asyncio.gather(*others)
    return answers


async def impolite(target: Target, rounds: int) -> tuple[int, float]:
    """What a polite client suffers from a rude one: its failures, and how many times its p95 beside a polite one."""
    polite = [(Question(NEIGHBOUR_TOKENS, stream=True).bytes_for(target), None)] * len(rude_requests(target))
    seconds: dict[str, list[float]] = {"polite": [], "rude": []}
    failures = 0
    for _ in range(rounds):
        for name, requests in (("polite", polite), ("rude", rude_requests(target))):
            answers = await beside(target, requests)
            seconds[name] += [answer.seconds for answer in answers if answer.complete]
            failures += name == "rude" and sum(not answer.complete for answer in answers)
    if not (seconds["rude"] and seconds["polite"]):
        return failures, math.inf
    return failures, percentiles(seconds["rude"])["p95"] / percentiles(seconds["polite"])["p95"]


async def memory(target: Target, servers: Sequence[Ollama]) -> float:
    """Megabytes (PSS) of the gateway's processes with a thousand open streams; the servers hold all of them back."""
    assert target.process
    request = Question(8, stream=True).bytes_for(target)
    writers = []
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.enter_context(server.frozen())
        for _ in range(STREAMS):
            _, writer = await asyncio.open_connection(target.address, target.port)
            writer.write(request)
            writers.append(writer)
        await asyncio.sleep(3)
        pid = target.process.started.pid
        measured = pss_mib({pid} | below(pid))
        for writer in writers:
            writer.close()
    return measured


async def hung(server: Ollama) -> tuple[float, float]:
    """Seconds until a server whose runner stands still in the middle of answers is unhealthy, and until it is replaced.

    What Swarm does then is done here: it stops the task, waits a little, and starts another one.
    """
    target = Target("direct", server.node.address, 11434)
    asked = [asyncio.create_task(ask(target, Question(400, stream=True))) for _ in range(64)]
    await next(asyncio.as_completed(asked))
    began = time.monotonic()
    with server.frozen("runner"):
        await asyncio.to_thread(server.wait_until_unhealthy, 60)
        found = time.monotonic() - began
        server.process.send(signal.SIGTERM)
        await asyncio.to_thread(server.process.wait, 60)
    await asyncio.sleep(RESTART_DELAY_S)
    server.restart()
    await asyncio.to_thread(admit, server)
    replaced = time.monotonic() - began
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    return found, replaced


def goals(rows: dict[str, Row]) -> list[Goal]:
    """What the gateway has to reach, and whether it did."""
    ours = rows["ours"]
    wanted: list[tuple[str, float, float]] = [
        ("a: latency added at p95 (ms)", ours.added_ms["p95"], ADDED_P95_MS),
        ("b: failed before the first byte", ours.failed_before, 0),
        ("b: worst latency (s)", ours.worst_s, WORST_S),
        ("added p95, ms", ours.added_ms["p95"], CLOSE_P95_MS),
        ("abandoned: questions unanswered within 5 s", ours.unanswered, 0),
        (f"d: memory at {STREAMS} open streams (MB)", ours.memory_mb, MEMORY_MB),
        ("hung: seconds until out of traffic", ours.hung_s, HUNG_S),
        ("rude: polite client's failures", ours.impolite_failures, 0),
        ("rude: polite client's p95, ratio", ours.impolite_ratio, POLITE_RATIO),
    ]
    for name, row in rows.items():
        if name != "ours":
            wanted += [
                (f"b: failed before the first byte, as good as {name}", ours.failed_before, row.failed_before),
                (f"b: failed after it, as good as {name}", ours.failed_after, row.failed_after),
                (f"b: worst latency (s), as good as {name}", ours.worst_s, row.worst_s),
                (f"b: median until a returned node has traffic (s), as good as {name}",
                 statistics.median(ours.back_s), statistics.median(row.back_s)),
            ]  # fmt: skip
    return [goal(*each) for each in wanted]


def table(rows: dict[str, Row]) -> str:
    """The rows in Markdown."""
    head = (
        "gateway", "added p50 / p95 / p99 (ms)", "requests/s", "asked", "failed before / after first byte", "worst (s)",
        "back in traffic, median / worst (s)", "busiest server's share", "MB at 1,000 streams",
        f"unanswered of {QUESTIONS} after abandoned streams", "beside a rude client: failures / p95, times",
    )  # fmt: skip
    body = [
        (
            row.name,
            " / ".join(f"{value:.2f}" for value in row.added_ms.values()),
            f"{row.requests_per_second:.0f}",
            str(row.asked),
            f"{row.failed_before} / {row.failed_after}",
            f"{row.worst_s:.2f}",
            f"{statistics.median(row.back_s):.1f} / {max(row.back_s):.1f}",
            f"{row.busiest_share:.0%}",
            f"{row.memory_mb:.0f}",
            str(row.unanswered),
            f"{row.impolite_failures} / {row.impolite_ratio:.2f}",
        )
        for row in rows.values()
    ]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), *body)]
    return "\n".join(lines)


def peers(made: Bed, directory: Path, servers: Sequence[Ollama]) -> Iterator[tuple[Target, Dns | None]]:
    """The gateways, each in a node of its own."""
    ours = Gateway(made.node("ours"), directory / "ours" / "stack" / "gateway", made.roots["nginx"])
    Exporter(ours, made.roots["mtail"])
    yield Target("ours", ours.node.address, 8080, ours.process), ours.dns

    node = made.node("original")
    hosts = made.directory / "original-etc-hosts"
    hosts.write_text("".join(f"{server.node.address} ollama-{n}\n" for n, server in enumerate(servers, 1)))
    process = node.start(
        "nginx", ["nginx", "-c", "/gpuswarm/original.conf", "-g", "daemon off;"], root=made.roots["nginx"],
        mounts={"/gpuswarm": HERE, "/etc/hosts": hosts},
    )  # fmt: skip
    yield Target("original", node.address, 8080, process), None

    node = made.node("haproxy")
    dns = Dns(node)
    process = node.start("haproxy", ["haproxy", "-db", "-f", HERE / "haproxy.cfg"])
    yield Target("haproxy", node.address, 8080, process), dns

    node = made.node("litellm")
    config = made.directory / "litellm.yml"
    config.write_text(yaml.safe_dump(litellm(servers)))
    process = node.start(
        "litellm", [LITELLM / "bin" / "litellm", "--config", config, "--host", node.address, "--port", "8080"],
        env={
            "HOME": str(made.directory), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true", # nobody else is in this network
        },
    )  # fmt: skip
    yield Target("litellm", node.address, 8080, process, openai=True), None


def litellm(servers: Sequence[Ollama]) -> dict[str, Any]:
    """LiteLLM's configuration. It has no time-out for connecting only: this one would be too short for real answers."""
    return {
        "model_list": [
            {"model_name": MODEL, "litellm_params": {"model": f"ollama/{MODEL}", "api_base": server.url}}
            for server in servers
        ],
        "router_settings": {
            "routing_strategy": "least-busy", "num_retries": 2, "timeout": 10, "allowed_fails": 1, "cooldown_time": 10,
        },
        "litellm_settings": {"telemetry": False},
    }  # fmt: skip


def install_litellm(log: StepLog) -> None:
    """Have LiteLLM in its own environment; does nothing when it is there."""
    wanted = HERE / "litellm.txt"
    installed = LITELLM / "installed.txt"
    if installed.exists() and installed.read_text() == wanted.read_text():
        return
    log.run(sys.executable, "-m", "venv", "--clear", LITELLM)
    log.run(LITELLM / "bin" / "pip", "install", "--quiet", "--requirement", wanted)
    installed.write_text(wanted.read_text())


def answers(target: Target) -> bool:
    """Whether a target gives a whole answer."""
    return asyncio.run(ask(target, Question(1, stream=False))).complete


def renew(servers: Sequence[Ollama], target: Target) -> None:
    """Have new servers, which the gateway asks."""
    for server in servers:
        server.process.kill()
        server.restart()
    for server in servers:
        server.wait_until_healthy()
    until(f"{target.name} answers again", partial(answers, target), 120, 0.5)


def measure(options: argparse.Namespace) -> dict[str, Row]:
    """Set all up, and measure one thing after another."""
    directory = Path(tempfile.mkdtemp(prefix="gsgw-bench-"))
    log = StepLog(directory / "packages.log")
    install_packages(log, {"haproxy": "haproxy"})
    install_litellm(log)
    ours = gateway_files(directory, {"ours": OURS})
    run_plays(directory, [ours, server_files(directory, {"ours": {"ollama_max_queue": 2 * STREAMS}})])
    with bed(directory) as made:
        servers = [
            Ollama(made.node(f"gpu-{number}"), directory / "ours" / "stack" / "ollama", made.roots["ollama"])
            for number in (1, 2, 3)
        ]
        for server in servers:
            server.wait_until_healthy()
        found = list(peers(made, directory, servers))
        targets = [target for target, _ in found]
        swarm = Swarm([dns for _, dns in found if dns], servers)
        for target in targets:
            until(f"{target.name} answers", partial(answers, target), 120, 0.5)
        rows = {target.name: Row(target.name) for target in targets}

        say("a: latency and throughput")
        direct = Target("direct", servers[0].node.address, 11434)
        for name, added in asyncio.run(latency(direct, targets, options.rounds)).items():
            rows[name].added_ms = added
        for _ in range(5):
            for target in targets:
                rows[target.name].requests_per_second += asyncio.run(throughput(target, 1)) / 5
        say(f"b: servers vanish and return, {options.times} times")
        asyncio.run(bad_weather(swarm, targets, rows, times=options.times, rate=options.rate))
        say("c: evenness")
        for target in targets:
            rows[target.name].busiest_share = asyncio.run(evenness(target, servers))
        say("d: memory, streams that are abandoned, and a client that is rude")
        for target in targets:
            # Streams that are broken off can cost Ollama its turns for good (its issue 17131).
            renew(servers, target)
            rows[target.name].unanswered = asyncio.run(abandoned(target))
            renew(servers, target)
            row = rows[target.name]
            row.impolite_failures, row.impolite_ratio = asyncio.run(impolite(target, options.rude_rounds))
            renew(servers, target)
            rows[target.name].memory_mb = asyncio.run(memory(target, servers))
        say("e: a runner that hangs")
        servers[0].process.kill()
        servers[0].restart()
        servers[0].wait_until_healthy()
        rows["ours"].hung_s, rows["ours"].replaced_s = asyncio.run(hung(servers[0]))
        say(f"   out of traffic after {rows['ours'].hung_s:.1f} s, replaced after {rows['ours'].replaced_s:.1f} s")
    return rows


def say(text: str) -> None:
    """Tell what is being done."""
    sys.stdout.write(f"{text} ...\n")
    sys.stdout.flush()


def main() -> int:
    """Measure, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer repeats; the goals are the same")
    parser.add_argument("--rounds", type=int, help="small answers for the latency of each gateway (default: 500)")
    parser.add_argument("--times", type=int, help="how often a server vanishes (default: 10)")
    parser.add_argument("--rate", type=float, default=20, help="requests a second to each gateway meanwhile")
    options = parser.parse_args()
    options.rounds = options.rounds or (200 if options.short else 500)
    options.times = options.times or (3 if options.short else 10)
    options.rude_rounds = 2 if options.short else 4
    where = machine()
    rows = measure(options)
    reached = goals(rows)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    result = {
        "machine": where,
        "options": vars(options),
        "rows": [asdict(row) for row in rows.values()],
        "goals": [asdict(item) for item in reached],
    }
    (OUTPUT / "gateway.json").write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write("\n".join([table(rows), "", *told(reached), ""]))
    return 0 if all(item.met for item in reached) else 1


if __name__ == "__main__":
    sys.exit(main())
