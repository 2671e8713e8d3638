"""Verification: pairs read and made, identities kept apart, the measures against worked values, runs that ask, resume and ship."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina.cli import main
from lamina.core.answers import Same
from lamina.core.errors import DataError, SettingError, ShipError
from lamina.data import _pairs
from lamina.data._table import TEST, TRAIN, VALIDATION
from lamina.measures import pairs
from lamina.nets import embedding
from lamina.tasks import verify

SMALL = {"net_settings": {"width": 8, "features": "resnet9"}, "show": False}


def picture(colour, random, side=20):
    array = random.integers(0, 60, (side, side, 3)).astype(np.uint8)
    array[4:16, 4:16] = np.clip(np.array(colour) + random.integers(-9, 9, 3), 0, 255)
    return Image.fromarray(array)


@pytest.fixture
def people(tmp_path):
    """24 folders of 3 pictures of one colour each."""
    random, folder = np.random.default_rng(0), tmp_path / "people"
    for person in range(24):
        colour = random.integers(60, 255, 3)
        (folder / f"p{person}").mkdir(parents=True)
        for maker in ("x", "y", "z"):
            picture(colour, random).save(folder / f"p{person}" / f"{maker}.png")
    return folder


@pytest.fixture
def listed(people):
    """A CSV of pairs of these pictures, same and different."""
    random, lines = np.random.default_rng(1), ["left,right,same"]
    for person in range(24):
        lines += [f"p{person}/x.png,p{person}/y.png,yes", f"p{person}/y.png,p{person}/z.png,yes"]
        for other in random.choice([p for p in range(24) if p != person], 14, replace=False):
            lines.append(f"p{person}/x.png,p{other}/z.png,no")
    (people / "pairs.csv").write_text("\n".join(lines) + "\n")
    return people / "pairs.csv"


# Worked by hand: at 0.2 one of two same pairs is found and none of four different ones accepted; at 0.5 both, and two of four.
ROWS = {
    "distance": np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.9]),
    "target": np.array([1, 1, 0, 0, 1, 0]),
    "threshold": np.full(6, 0.35),
    "who": np.array([[0, 0], [1, 1], [0, 1], [1, 2], [2, 2], [0, 2]]),
}


def test_measures_against_worked_values():
    found = pairs.finish(ROWS)
    assert found["false_accepts"] == pytest.approx(1 / 3) and found["false_rejects"] == pytest.approx(1 / 3)
    assert found["pair_accuracy"] == pytest.approx(2 / 3) and found["eer"] == pytest.approx(1 / 3)
    assert found["auc"] == pytest.approx(7 / 9)  # of 9 pairs of pairs 7 are in order
    assert found["found_at_1_percent"] == pytest.approx(2 / 3)
    perfect = {**ROWS, "target": np.array([1, 1, 1, 0, 0, 0])}
    assert pairs.finish(perfect)["eer"] == 0 and pairs.threshold(perfect) == pytest.approx(0.35)
    backwards = {**ROWS, "target": np.array([0, 0, 0, 1, 1, 1])}
    assert pairs.finish(backwards)["eer"] == 1
    equal = {**ROWS, "distance": np.full(6, 0.5)}
    assert pairs.finish(equal)["eer"] == pytest.approx(0.5)


def test_auc_and_eer_equal_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(2)
    same = random.random(400) < 0.3
    distance = np.round(random.normal(1 - 0.5 * same, 0.4), 2)  # with ties
    found = pairs.finish({"distance": distance, "target": same.astype(int), "threshold": np.full(400, 0.7)})
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(same, -distance))
    accepts, kept, _ = metrics.roc_curve(same, -distance, drop_intermediate=False)
    dense = np.linspace(0, 1, 100_001)
    assert found["eer"] == pytest.approx(
        dense[np.argmin(np.abs(np.interp(dense, accepts, kept) - (1 - dense)))], abs=2e-5
    )


def test_interval_draws_identities():
    random = np.random.default_rng(3)
    who = random.integers(0, 40, (2_000, 2))
    who[::2, 1] = who[::2, 0]
    hard = random.normal(0, 0.6, 40)[who].mean(1)  # some identities are harder: pairs of one are alike
    rows = {"target": (who[:, 0] == who[:, 1]).astype(int), "who": who, "threshold": np.full(2_000, 0.5)}
    rows["distance"] = 1 - 0.5 * rows["target"] + hard + random.normal(0, 0.2, 2_000)
    low, high = pairs.interval(rows, "eer")
    assert low < pairs.finish(rows)["eer"] < high
    by_pair = pairs.bootstrap(lambda at: pairs.finish({k: v[at] for k, v in rows.items()})["eer"], 2_000, 0, 200)
    assert high - low > 1.5 * (by_pair[1] - by_pair[0])  # rows drawn one by one would pretend to know more


def test_classes_become_pairs_that_share_none_across_splits(people):
    table = _pairs.of_classes(lamina.open(people), 0)
    who, split = table["same"].values, table.split
    shown = [set(who[split == part].ravel().tolist()) for part in (TRAIN, VALIDATION, TEST)]
    assert not (shown[0] & shown[1] or shown[0] & shown[2] or shown[1] & shown[2])
    assert [len(s) for s in shown] == [15, 4, 5] and shown[0] == set(range(15))
    assert "none of the validation and test pairs is in train" in table.split_rule
    for part in (VALIDATION, TEST):
        equal = who[split == part][:, 0] == who[split == part][:, 1]
        assert equal.mean() == 0.5
    names = [str(n).split(" ~ ") for n in table.names]
    for (first, second), (a, b), part in zip(names, who, split, strict=True):
        assert first != second and (first.split("/")[0] == second.split("/")[0]) == (a == b)
        if part != TRAIN and a == b:
            wanted = (first, second.split("/")[1])
        elif part != TRAIN:
            assert (first, second.split("/")[1]) == wanted  # the other one has the name of the same pair's other one
    again = _pairs.of_classes(lamina.open(people), 0)
    assert again.fingerprint() == table.fingerprint() != _pairs.of_classes(lamina.open(people), 1).fingerprint()


def test_a_split_that_shares_classes_is_not_kept():
    table = lamina.open("digits")
    made = _pairs.of_classes(table.take(np.arange(0, 5000, 10)), 0)
    who = made["same"].values
    assert not set(who[made.split == TEST].ravel()) & set(who[made.split == TRAIN].ravel())
    assert any("divided anew" in note for note in made.notes)


def test_listed_pairs_are_divided_by_whom_they_show(listed):
    table = lamina.open(listed)
    assert table.reader == "pairs" and table["same"].field.kind == "same"
    prepared = lamina.look(table)
    full = prepared.full
    who, split = full["same"].values, full.split
    assert not set(who[split == TEST].ravel().tolist()) & set(who[split != TEST].ravel().tolist())
    left_out = len(table) - len(full)
    assert left_out > 0 and any(f"{left_out:,} pairs of a picture of train" in note for note in full.notes)
    assert prepared.plan.task == "verify" and prepared.plan.net == "embedding"
    assert set(who[split == TRAIN].ravel()) == set(range(prepared.plan.options["identities"]))


def test_two_folders_of_equal_names(people, tmp_path):
    for side, maker in (("a", "x"), ("b", "z")):
        (tmp_path / "two" / side).mkdir(parents=True)
        for person in range(24):
            (people / f"p{person}" / f"{maker}.png").rename(tmp_path / "two" / side / f"{person}.png")
    table = lamina.open(tmp_path / "two")
    assert table.reader == "pairs" and table.target == "same"
    for name in table.names:
        first, second = str(name).split(" ~ ")
        assert first.endswith("/a") != second.endswith("/a")  # one of each folder, the same or not


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("p0/x.png,p1/x.png,perhaps", "row 2: same is 'perhaps', neither yes nor no"),
        ("p0/x.png,p0/y.png,no", "row 2: says different, and other rows join both pictures as the same"),
        ("p0/none.png,p0/y.png,yes", "row 2: left 'p0/none.png' does not exist"),
    ],
)
def test_bad_pairs_are_named(listed, line, message):
    lines = listed.read_text().splitlines()
    listed.write_text("\n".join([lines[0], line, *lines[1:]]))
    table = lamina.open(listed)
    assert message in [f"{b.where}: {b.why}" for b in table.bad] and len(table) == len(lines) - 1


def test_too_few_identities(people, tmp_path):
    for person in range(5, 24):
        for file in (people / f"p{person}").iterdir():
            file.unlink()
    with pytest.raises(DataError, match="shows 5 of class; to tell unseen ones apart needs at least 6"):
        lamina.look(people, task="verify")


@pytest.mark.parametrize("loss", embedding.LOSSES)
def test_each_loss_learns_colours(people, loss):
    settings = {"width": 8, "features": "resnet9", "loss": loss}
    run = lamina.fit(
        people, task="verify", steps=30, batch=16, lr=0.02, net_settings=settings, show=False, run=f"r-{loss}"
    )
    assert run.score().value < 0.34  # unseen colours; 1/2 is guessing
    assert run.score().baselines["a coin"] == 0.5
    assert hasattr(run.net, "centres") == (loss == "margin")


def test_losses_against_worked_values():
    points = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    who = torch.tensor([0, 0, 1])
    square = {(0, 1): 0.8, (0, 2): 2.0, (1, 2): 0.4}
    far = (0 + (1 - square[1, 2] ** 0.5) ** 2) / 2  # 0 and 2 are farther than 1 apart
    assert float(verify.contrastive(points, who)) == pytest.approx(0.8 + far, abs=1e-5)
    cosine = torch.tensor([[0.9, 0.1]])
    wanted = -torch.log_softmax(torch.tensor([16 * 0.7, 1.6]), 0)[0]
    assert float(verify.margin(cosine, torch.tensor([0]))) == pytest.approx(float(wanted), abs=1e-6)
    softplus = torch.nn.functional.softplus
    hard = [softplus(torch.tensor(16 * (0.8**0.5 - s**0.5 + 0.2))) / 16 for s in (2.0, 0.4)]
    assert float(verify.triplet(points, who)) == pytest.approx(float(sum(hard)) / 2, abs=1e-5)


def test_a_run_asks_scores_reports_resumes_and_ships(people, capsys):
    options = {"task": "verify", "steps": 12, "batch": 16, "lr": 0.02, **SMALL}
    run = lamina.fit(people, run="one", **options)
    same, other = str(people / "p0" / "x.png"), str(people / "p3" / "z.png")
    answer = run.ask(same, other)
    assert isinstance(answer, Same) and 0 <= answer.distance <= 2 and answer.threshold == float(run.net.threshold)
    assert run.ask(same, same).distance == 0 and run.ask(same, same).chosen == ("same",)
    assert main(["ask", "one", same, other, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["answer"] in ("same", "different") and told["distance"] == pytest.approx(answer.distance)
    with pytest.raises(DataError, match="gives 1 pictures; two are compared at a time"):
        run.ask(same)
    page = run.report().read_text()
    assert "(ROC)" in page and "Do two pictures show the same?" in page and "side-by-side" in page
    assert run.score(people).rows > 30  # pairs are made of the classes of other data
    shipped = lamina.load(run.ship())
    assert shipped.ask(same, other) == answer and shipped.content["parity"]["bit_equal"]
    with pytest.raises(ShipError, match="vectors cannot carry this net: its task is verify"):
        run.ship("vectors")


def test_resuming_ends_in_the_same_bits(people, monkeypatch):
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)
    options = {"task": "verify", "steps": 9, "batch": 16, "lr": 0.02, **SMALL}
    whole = lamina.fit(people, run="whole", **options)
    from lamina import api
    from lamina.train.plan import Wishes
    from lamina.train.recipe import Recipe

    settings = {k: str(v) for k, v in SMALL["net_settings"].items()}
    wishes = Wishes(task="verify", net_settings=settings, recipe=Recipe(steps=9, batch=16, lr=0.02))
    seen = []
    api.train(lamina.open(people), wishes, people.parent / "cut", stop=lambda: seen.append(1) or len(seen) > 1)
    resumed = api.resume(people.parent / "cut")
    assert torch.equal(whole.net.threshold, resumed.net.threshold)
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name


def test_any_image_net_can_be_built_on(people):
    plan = lamina.look(people, task="verify", net="resnet/20").plan
    assert plan.net == "embedding" and plan.net_config["features"] == "resnet/20"
    with pytest.raises(SettingError, match="blend pictures"):
        lamina.fit(people, task="verify", augment="mixup", steps=2, show=False, run="m")
    with pytest.raises(SettingError, match="must be a net that takes pictures"):
        embedding.Net(embedding.Config(features="mlp"))
