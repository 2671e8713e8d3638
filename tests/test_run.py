"""A run folder: atomic, locked, checked."""

import json
import threading

import pytest

from lamina.core.errors import NameUnknown, RunError
from lamina.core.run import Run


def test_two_starts_get_two_folders():
    made = []
    threads = [threading.Thread(target=lambda: made.append(Run.create(None, "cat photos!").path)) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(set(made)) == 8 and {p.name for p in made} == {f"cat-photos-{i}" for i in range(1, 9)}


def test_a_named_folder_is_never_shared(tmp_path):
    Run.create(tmp_path / "mine")
    with pytest.raises(RunError, match="mine exists already"):
        Run.create(tmp_path / "mine")


def test_held_by_one(tmp_path):
    run = Run.create(tmp_path / "r")
    with run.held(), pytest.raises(RunError, match="in use by another process"), Run(run.path).held():
        pass
    with Run(run.path).held():
        pass


def test_damage_is_noticed(tmp_path):
    run = Run.create(tmp_path / "r")
    run.write("best.safetensors", b"12345")
    assert run.read("best.safetensors") == b"12345"
    (run.path / "best.safetensors").write_bytes(b"12346")
    with pytest.raises(RunError, match=r"best.safetensors is damaged"):
        run.read("best.safetensors")


def test_kill_between_manifest_and_file_leaves_the_old_file_good(tmp_path):
    run = Run.create(tmp_path / "r")
    run.write("score.json", b"old")
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest["score.json"].insert(0, "f" * 64)  # the new sha256 is in, the rename did not happen
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    assert run.read("score.json") == b"old"


def test_log_survives_a_torn_line_and_is_rewound(tmp_path):
    run = Run.create(tmp_path / "r")
    for step in (1, 2, 3):
        run.log(event="report", step=step)
    with open(run.path / "log.jsonl", "a") as file:
        file.write('{"event": "rep')
    assert [e["step"] for e in run.history("report")] == [1, 2, 3]
    run.rewind_log(2)
    assert [e["step"] for e in run.history()] == [1, 2]


def test_unknown_run_names_the_nearest(tmp_path):
    Run.create(None, "digits").write_json("config.json", {})
    assert Run.open("digits-1").path.name == "digits-1"
    with pytest.raises(NameUnknown, match="no run 'digit-1'; did you mean 'digits-1'"):
        Run.open("digit-1")


def test_only_the_newest_states_are_kept(tmp_path):
    run = Run.create(tmp_path / "r")
    for step in range(5):
        run.save_state(step, bytes([step]))
    assert [c for c, _ in run.states()] == [b"\x04", b"\x03"]
