"""The gate under many threads, while its users change."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.registry.gates import Asked, basic, document, write_users

SETTINGS = '[auth]\nhtpasswd = "users"\n[[auth.rule]]\nrepositories = ["team/**"]\nusers = ["*"]\n'
ROUNDS = 60


@pytest.mark.slow
def test_who_may_is_let_in_and_nobody_else_while_users_come_and_go(tmp_path: Path) -> None:
    write_users(tmp_path, {"ann": "p:w"})
    asked = Asked(SETTINGS, tmp_path)
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            beside = tmp_path / "beside"
            beside.mkdir(exist_ok=True)
            write_users(beside, {"ann": "p:w", **({"bob": "b"} if number % 2 else {})})
            (beside / "users").replace(tmp_path / "users")
            asked.clock.now += 1

    def ann() -> set[int]:
        found = set()
        for _ in range(ROUNDS):
            answer = asked.ask("GET", "/token?scope=repository:team/x:pull", "ann")
            token = f"Bearer {document(answer)['token']}"
            for shown in (token, basic("ann")):
                request = asked.request("GET", "/v2/team/x/tags/list", shown)
                found.add((asked.gate.quick(request) or asked.gate.handle(request)).status)
        return found

    def bob() -> set[int]:
        return {asked.ask("GET", "/v2/team/x/tags/list", "bob").status for _ in range(ROUNDS)}

    def eve() -> set[int]:
        return {asked.ask("GET", "/v2/team/x/tags/list", f"eve:{n}").status for n in range(ROUNDS)}

    with ThreadPoolExecutor(6) as pool:
        changing = pool.submit(change)
        running = [pool.submit(work) for work in (ann, ann, bob, eve)]
        found = [one.result(60) for one in running]
        over.set()
        changing.result(60)

    assert found[0] == found[1] == {200}
    assert found[2] <= {200, 401, 429}
    assert found[3] <= {401, 429}
    assert asked.notes == []
