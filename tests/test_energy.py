"""Energy: counters that begin anew, zones inside zones, an accelerator, and machines that do not tell; report.json."""

import json

import pytest

import lamina
from lamina.cli import main
from lamina.core import energy
from lamina.core.errors import LaminaError
from lamina.judge import _closer
from lamina.judge._sections import _cost

COST = {"weights": 1000, "megabytes": 0.004}


@pytest.fixture
def powercap(tmp_path):
    """A package with its cores and memory inside, and the platform that holds all."""
    for zone, name, value in (("0", "package-0", 900), ("0:0", "core", 500), ("0:1", "dram", 10), ("1", "psys", 7_000)):
        folder = tmp_path / f"intel-rapl:{zone}"
        folder.mkdir()
        for file, text in (("name", name), ("energy_uj", value * 10**6), ("max_energy_range_uj", 1000 * 10**6)):
            (folder / file).write_text(f"{text}\n")
    (tmp_path / "intel-rapl").mkdir()  # the driver's own folder has no counter
    return tmp_path


def set_to(powercap, zone, joules):
    (powercap / f"intel-rapl:{zone}" / "energy_uj").write_text(f"{joules * 10**6}\n")


def test_counters_are_added_and_begin_anew(powercap):
    meter = energy.Meter(powercap)
    set_to(powercap, "0", 950), set_to(powercap, "0:0", 540), set_to(powercap, "1", 7_080)
    meter.read()
    set_to(powercap, "0", 30), set_to(powercap, "0:1", 25)  # over its range: 50 more to 1000, and 30
    found = meter.to_json()
    assert found["joules"] == {"processor": 50 + 50 + 30 + 15} and found["seconds"] >= 0
    told = dict(_cost({**COST, "energy": {"joules": {"processor": 7200.0}, "seconds": 60.0}}, []))
    assert told["energy of training"].startswith("2 Wh (processor) in 1:00")


def test_a_machine_that_does_not_tell(tmp_path, powercap):
    assert energy.Meter(tmp_path / "none").to_json()["joules"] == {}
    (powercap / "intel-rapl:0" / "energy_uj").unlink()
    (powercap / "intel-rapl:0:1" / "energy_uj").write_text("secret")
    assert energy.zones(powercap) == {}
    assert "does not tell" in dict(_cost({**COST, "energy": {"joules": {}, "seconds": 1.0}}, []))["energy of training"]


class Library:
    """NVML as an accelerator's driver has it."""

    used = 5_000  # millijoules

    def nvmlInit_v2(self):
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        return 0 if index == 0 else 2

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, out):
        out._obj.value = self.used
        return 0


def test_an_accelerator(tmp_path):
    library = Library()
    meter = energy.Meter(tmp_path, energy.of_accelerator(0, library))
    library.used = 17_500
    assert meter.to_json()["joules"] == {"accelerator": 12.5}
    assert energy.of_accelerator(1, library) is None
    library.nvmlDeviceGetTotalEnergyConsumption = lambda *_: 3  # not supported
    assert energy.of_accelerator(0, library) is None


def test_every_figure_is_in_report_json(people, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_closer, "COUNTING", 0.0)
    people.to_csv(tmp_path / "people.csv", index=False)
    run = lamina.fit(tmp_path / "people.csv", target="class", epochs=3, show=False, run=tmp_path / "one")
    told = json.loads((run.path / "report.json").read_bytes(), parse_constant=pytest.fail)
    score = run.score()
    assert told["signature"] == score.signature and told["score"]["value"] == score.value
    assert told["score"]["numbers"]["log_loss"] == score.numbers["log_loss"] and told["score"]["baselines"]
    cost = told["cost"]
    assert cost["weights"] == sum(p.numel() for p in run.net.parameters()) and cost["most_memory_megabytes"] > 10
    passes = told["learning"]["training"][-1]["passes"]
    rows = run.config["rows"]["train"]
    assert cost["training_operations_about"] == round(3 * cost["operations_per_answer"] * passes * rows)
    assert cost["energy"]["seconds"] > 0 and told["learning"]["validation"]
    assert "energy of training" in run.report().read_text(encoding="utf-8")
    other = lamina.fit(tmp_path / "people.csv", target="class", epochs=2, show=False, run=tmp_path / "two")
    assert main(["compare", str(run.path), str(other.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(lamina.compare(run, other.path), default=str))


def test_check_in_python_is_that_of_the_command_line(people, tmp_path, capsys):
    people.to_csv(tmp_path / "people.csv", index=False)
    assert main(["check", "people.csv", "--target", "class", "--ignore", "town", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = lamina.check("people.csv", target="class", ignore=("town",)).to_json()
    assert {**told, "seconds": 0} == {**json.loads(json.dumps(found)), "seconds": 0}
    assert lamina.check(lamina.open(people), target="class").target == "class"
    run = lamina.fit("people.csv", target="class", epochs=1, show=False, run=tmp_path / "run")
    made = [lamina.check(what) for what in (run, run.path, str(run.path))]
    assert made[0].worse and all(m.worse == made[0].worse for m in made)
    with pytest.raises(LaminaError, match="option of check"):
        lamina.check(people, targett="class")
