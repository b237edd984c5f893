from __future__ import annotations

import pytest
from lab_docker import Change, change, is_on


@pytest.mark.parametrize(
    ("action", "exit_code", "expected"),
    [
        ("start", "", Change.STARTED),
        # What the engine reports of systemd as the first process, seen with Docker 20.10 and systemd 252 and 257.
        ("die", "129", Change.REBOOTS),  # reboot, systemctl reboot, shutdown -r now, reboot -f
        ("die", "130", Change.STOPPED),  # poweroff, halt, shutdown -h now; the stop signal of `docker stop`
        ("die", "0", Change.STOPPED),  # systemctl exit
        ("die", "137", Change.STOPPED),  # killed
        ("die", "255", Change.STOPPED),  # lost by the engine
    ],
)
def test_what_a_containers_end_means(action: str, exit_code: str, expected: Change) -> None:
    assert change(action, exit_code, preempted=False) is expected
    assert change(action, exit_code, preempted=True) is None


@pytest.mark.parametrize(
    ("status", "exit_code", "error", "expected"),
    [
        ("running", "0", "", True),
        ("running", "129", "", True),
        ("exited", "129", "", True),
        ("exited", "129", "no such device", False),  # it could not be started again
        ("exited", "130", "", False),
        ("exited", "137", "", False),
        ("created", "0", "", False),
        ("dead", "129", "", False),
    ],
)
def test_power(status: str, exit_code: str, error: str, *, expected: bool) -> None:
    assert is_on(status, exit_code, error) is expected
