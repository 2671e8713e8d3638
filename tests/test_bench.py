"""lamina bench: the numbers are those of the work that was timed."""

import json

import pytest
import torch

from lamina import bench
from lamina.cli import main


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bench, "SECONDS", 0.02)
    monkeypatch.setattr(bench, "SIDES", (64, 128))
    monkeypatch.setattr(bench, "COPIED", 1 << 20)


def test_numbers_of_a_net(quick, capsys):
    threads = torch.get_num_threads()
    assert main(["bench", "digits", "--net", "cnn", "--batch", "32", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    update, rates = made["update"], made["rates"]
    assert made["net"] == "cnn" and update["rows"] == 32
    first = 26 * 26 * 9 * 32
    rest = 24 * 24 * 9 * 32 * 64 + 12 * 12 * 64 * 128 + 128 * 10
    assert update["operations"] == 2 * 32 * (2 * first + 3 * rest)  # the first layer's input needs no gradient
    parts = update["data"] + update["forward"] + update["backward"] + update["optimizer"]
    assert 0 < parts < 3 * update["whole"] and update["whole"] < 3 * parts
    assert rates["float32"] > 1e6 and rates["bandwidth"] > 1e6
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("layer", "forward"),
    [
        (torch.nn.Conv2d(8, 8, 3, groups=8), 26 * 26 * 9 * 8),
        (torch.nn.Conv2d(8, 4, 3, 2), 13 * 13 * 9 * 8 * 4),
        (torch.nn.ConvTranspose2d(8, 4, 2, 2), 28 * 28 * 8 * 4 * 4),
    ],
)
def test_operations_of_a_convolution(layer, forward):
    x = torch.zeros(2, 8, 28, 28, requires_grad=True)
    assert bench.operations(lambda: layer(x)) == 2 * 2 * forward
    assert bench.operations(lambda: layer(x).sum().backward()) == 3 * 2 * 2 * forward


def test_the_table_says_where_time_goes(quick, capsys):
    assert main(["bench", "digits", "--net", "lenet/1990"]) == 0
    said = capsys.readouterr().out
    assert all(part in said for part in ("GFLOP/s", "rows/s", "data", "forward", "backward", "optimizer", "Python"))


def test_a_median_is_of_five_runs_at_least():
    runs = []
    bench.median_seconds(lambda: runs.append(1), torch.device("cpu"), 0.0)
    assert len(runs) == 6


def test_unknown_net_is_one_sentence(quick, capsys):
    assert main(["bench", "digits", "--net", "lenett"]) == 2
    assert "lenet" in capsys.readouterr().err
