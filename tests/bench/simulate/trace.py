# SPDX-License-Identifier: Apache-2.0
"""Traces: for how many preemptible servers each zone has room, and when the cloud ends single ones.

Those in ``traces/`` are synthetic: ``python -m tests.bench.simulate.generate`` writes them. Public ones are read from a
path that the user names (`read_public`); they are not part of this repository.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TRACES = Path(__file__).parent / "traces"


class TraceError(ValueError):
    """A trace is wrong; the message names the file and what must be in it."""


@dataclass(frozen=True)
class Trace:
    """What a cloud did to preemptible servers of one flavor.

    Attributes:
        name: of the trace.
        seconds: how long it is.
        room: by zone, moments (seconds from the beginning) and from each on the number of servers that there is room
            for; the first moment is 0. The order of the zones is the one in which policies use them.
        preemptions: moments at which the cloud ends a single server although there is room for it, and the number of
            the GPU server that it is; without one of that number, or if it is ordinary, nothing happens.
    """

    name: str
    seconds: int
    room: Mapping[str, Sequence[tuple[int, int]]]
    preemptions: Sequence[tuple[int, int]] = field(default=())

    @property
    def zones(self) -> list[str]:
        """Its zones, in order."""
        return list(self.room)

    def cut(self, seconds: int) -> Trace:
        """Its beginning."""
        room = {zone: [point for point in points if point[0] < seconds] for zone, points in self.room.items()}
        return Trace(self.name, min(seconds, self.seconds), room, [p for p in self.preemptions if p[0] < seconds])


def dump(trace: Trace, about: Mapping[str, object]) -> str:
    """A trace as the text of a file in ``traces/``.

    :param about: what it was generated with, for people.
    """
    # One line for each zone: readable, and small differences stay small.
    parts = [f'"about": {json.dumps(about)}', f'"seconds": {trace.seconds}']
    rooms = [f"  {json.dumps(zone)}: {json.dumps(list(map(list, points)))}" for zone, points in trace.room.items()]
    parts.append('"room": {\n' + ",\n".join(rooms) + "\n}")
    parts.append(f'"preemptions": {json.dumps(list(map(list, trace.preemptions)))}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read(path: Path) -> Trace:
    """A trace: a file as in ``traces/``, or a directory with the public format.

    :raises TraceError: it is neither.
    """
    if path.is_dir():
        return read_public(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        room = {str(zone): [(int(at), int(n)) for at, n in points] for zone, points in data["room"].items()}
        preemptions = [(int(at), int(number)) for at, number in data["preemptions"]]
        trace = Trace(path.stem, int(data["seconds"]), room, preemptions)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TraceError(
            f"{path}: it must be a file as in {TRACES.name}/, with seconds, room and preemptions: {error}"
        ) from error
    if not room or any(not points or points[0][0] != 0 for points in room.values()):
        raise TraceError(f"{path}: each zone in room must have a first moment, 0")
    return trace


def read_public(folder: Path) -> Trace:
    """A directory of the projects spot-traces (Can't Be Late) or spothedge_ae (SkyServe), one JSON file for each zone.

    A file is ``{"metadata": {"gap_seconds": SECONDS}, "data": [N, ...]}``: for how many servers there is room in each
    interval. The trace is as long as its shortest file.

    :raises TraceError: a file is not like that.
    """
    found: dict[str, tuple[int, list[int]]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            gap, numbers = round(float(data["metadata"]["gap_seconds"])), [int(number) for number in data["data"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TraceError(
                f"{path}: it must have metadata.gap_seconds and data, a list of numbers: {error}"
            ) from error
        if gap < 1 or not numbers:
            raise TraceError(f"{path}: metadata.gap_seconds must be at least 1, and data must have a number")
        found[path.stem.partition("_")[0]] = (gap, numbers)
    if not found:
        raise TraceError(f"{folder}: there must be a JSON file for each zone in it")
    seconds = min(gap * len(numbers) for gap, numbers in found.values())
    room: dict[str, list[tuple[int, int]]] = {}
    for zone, (gap, numbers) in found.items():
        points = [(index * gap, number) for index, number in enumerate(numbers) if index * gap < seconds]
        room[zone] = [point for index, point in enumerate(points) if not index or points[index - 1][1] != point[1]]
    return Trace(folder.name, seconds, room)
