"""Hidden words: what is hidden and how often, what the net foretells, and a pretrained trunk that is fine-tuned."""

import numpy as np
import pandas as pd
import pytest
import torch

import lamina
from lamina import api
from lamina.core.errors import DataError, SettingError
from lamina.data._table import Field
from lamina.nets import bert
from lamina.tasks.mask import Mask
from lamina.train.plan import Wishes
from lamina.train.recipe import Recipe

TINY = {"width": 16, "depth": 1, "heads": 2}


def task(vocabulary=1000, **options):
    return Mask(Field("itself", "itself"), {"vocabulary": vocabulary, **options})


def batch(rows=64, length=200):
    torch.manual_seed(0)
    tokens = torch.randint(4, 1000, (rows, length))
    tokens[:, 0] = 2
    tokens[1, 50:] = 0
    return {"tokens": tokens, "target": torch.zeros(rows, dtype=torch.long)}


def test_shares_of_devlin_and_the_key():
    given, rows = batch(), torch.arange(64)
    made = task().change(given, None, 3, torch.zeros(64, dtype=torch.long), rows)
    chosen, seen, wanted = made["chosen"], made["tokens"], made["wanted"]
    able = wanted >= 4
    assert (
        not chosen[~able].any() and torch.equal(seen[~chosen], wanted[~chosen]) and torch.equal(wanted, given["tokens"])
    )
    assert float(chosen.sum() / able.sum()) == pytest.approx(0.15, abs=0.01)
    shares = [(seen[chosen] == 1).float().mean(), (seen[chosen] == wanted[chosen]).float().mean()]
    assert [float(s) for s in shares] == pytest.approx([0.8, 0.1], abs=0.03)
    again = task().change(given, None, 3, torch.zeros(64, dtype=torch.long), rows)
    assert torch.equal(again["tokens"], seen)
    for seed, number, moved in ((4, 0, 0), (3, 1, 0), (3, 0, 64)):
        other = task().change(given, None, seed, torch.full((64,), number), rows + moved)
        assert not torch.equal(other["chosen"], chosen)


def test_held_out_rows_are_hidden_alike_whatever_their_batch():
    given = batch()
    whole = task().prepare(given, training=False)
    one = task().prepare({k: v[1:2, :60] if v.dim() > 1 else v[1:2] for k, v in given.items()}, training=False)
    assert torch.equal(one["tokens"][0], whole["tokens"][1, :60]) and one["chosen"].any()
    short = task().prepare({"tokens": torch.tensor([[2, 7]])}, training=False)
    assert short["chosen"].tolist() == [[False, True]]  # one token of every text at least


def test_halves_follow_or_come_from_another_row():
    given = batch(40, 20)
    made = task(next=True).change(given, None, 0, torch.zeros(40, dtype=torch.long), torch.arange(40))
    wanted, tokens = made["wanted"], given["tokens"]
    assert (wanted[:, 0] == 2).all() and (wanted[:, 10] == 3).all() and 8 < int(made["follows"].sum()) < 32
    for i in range(40):
        source = tokens[i] if made["follows"][i] else tokens[(i - 20) % 40]
        assert torch.equal(wanted[i, 11:], source[11:]) and torch.equal(wanted[i, 1:10], tokens[i, 1:10])


def test_places_that_are_foretold_are_those_of_all_tokens():
    torch.manual_seed(0)
    net = bert.Net(bert.Config(per="mask", follows=True, **TINY)).eval()
    made = task(next=True).change(batch(4, 12), None, 0, torch.zeros(4, dtype=torch.long), torch.arange(4))
    found, after = net.foretold(made["tokens"], made["chosen"])
    assert torch.allclose(found, net(made["tokens"])[made["chosen"]], atol=1e-5) and after.shape == (4, 2)
    rows = task(next=True).score(net, made)
    loss = task(next=True).loss(net, made).detach()
    each = ((rows["loss"] - rows["nats"] / rows["tokens"]).mean() + rows["nats"].sum() / rows["tokens"].sum()).detach()
    assert float(loss) == pytest.approx(float(each), rel=1e-5)
    with pytest.raises(SettingError, match="context is 256"):
        net(torch.ones(1, 300, dtype=torch.long))


def sentences(count=240):
    """Sentences whose last word is told by an earlier one; and which of two kinds each is."""
    random = np.random.default_rng(0)
    kinds = {"sea": ["ship", "wave", "deck"], "farm": ["cow", "barn", "hay"]}
    fill, rows = ["the", "a", "old", "we", "saw"], []
    for i in range(count):
        kind = ["sea", "farm"][i % 2]
        first, second = random.choice(kinds[kind], 2)
        rows.append((" ".join([*random.choice(fill, 3), first, "and", second, "by", "the", kind]), kind))
    return pd.DataFrame(rows, columns=["text", "kind"])


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mask")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMINA_STORE", str(folder / "store"))
        how = {
            "net_settings": {**TINY, "dropout": 0.0},
            "lr": 0.01,
            "steps": 240,
            "batch": 16,
            "tokens": "words",
            "seed": 1,
        }
        return lamina.fit(sentences(), task="mask", run=folder / "run", show=False, **how)


def test_hidden_words_are_learned_asked_and_shipped(pretrained):
    score = pretrained.score()
    assert score.name == "masked_accuracy" and score.value > 1.5 * score.baselines["the commonest token"] > 0
    assert score.low <= score.value <= score.high
    told = pretrained.ask("we saw the ship and deck by the ___").text
    assert told.startswith("sea") and told.count("%") == 5
    assert lamina.load(pretrained.ship()).ask("the ___ and ___").text == pretrained.ask("the ___ and ___").text
    with pytest.raises(DataError, match="put ___ where"):
        pretrained.ask("no blank")


def test_a_pretrained_trunk_is_fine_tuned(pretrained, tmp_path):
    few = sentences(60).assign(split=["train"] * 20 + ["val"] * 20 + ["test"] * 20)
    how = {"target": "kind", "weights": str(pretrained.path), "freeze": "none", "show": False, "epochs": 2}
    run = lamina.fit(few, run=tmp_path / "tuned", **how)
    assert run.plan.net == "bert" and run.net.per == "text" and run.plan.net_config["width"] == 16
    own = pretrained.plan.inputs[0].tokens
    assert run.plan.inputs[0].tokens == own and any("Tokens are those of" in why for why in run.plan.why)
    (fitted,) = [why for why in run.plan.why if "tensors fit" in why]
    assert "classifier.bias" in fitted and "found no place (words." in fitted
    net = lamina.train.plan.build(
        run.plan, lamina.api.prepare(lamina.open(few, target="kind"), _wishes(how)).table, torch.device("cpu")
    )[1]
    assert torch.equal(
        net.features.embed.token.weight, pretrained.net.features.embed.token.weight
    )  # what it began with
    assert next(iter(run.ask("the cow and hay by the farm").probabilities)) in ("sea", "farm")


def _wishes(how):
    return Wishes(recipe=Recipe(weights=how["weights"], freeze="none", epochs=2))


def test_what_is_no_text_is_refused(people):
    with pytest.raises(DataError, match="task mask learns from texts"):
        lamina.look(people, task="mask")
    with pytest.raises(SettingError, match="needs running text"):
        lamina.look(sentences(), task="mask", task_settings={"next": "yes"})
    with pytest.raises(SettingError, match="which rnn does not answer; try --net bert"):
        lamina.look(sentences(), task="mask", net="rnn")


def test_running_text_is_cut_into_pairs_and_its_halves_compared(tmp_path):
    story = " ".join(sentences(240)["text"])
    (tmp_path / "book.txt").write_text(story)
    how = {"net_settings": TINY, "steps": 3, "batch": 4, "show": True, "task_settings": {"next": "yes"}}
    run = lamina.fit(tmp_path / "book.txt", task="mask", run=tmp_path / "run", **how)
    assert run.plan.inputs[0].tokens.kind == "pairs" and run.plan.net_config["follows"]
    assert set(run.score().numbers) >= {"masked_accuracy", "next_accuracy", "perplexity"}
    assert run.ask("the ___ sat").text


def test_a_stopped_training_ends_in_the_same_bits(tmp_path, monkeypatch):
    """Hidden words are keyed by (seed, pass, row): a run that goes on hides those that it would have."""
    monkeypatch.setattr("lamina.train.ways.REPEATED", 1e9)
    monkeypatch.setattr("lamina.train.engine.TICK", 0.0)
    sentences(60).to_csv("texts.csv", index=False)
    settings = {"width": "8", "depth": "1", "heads": "1"}
    recipe = Recipe(steps=12, batch=8, tokens="words")
    whole = api.train(lamina.open("texts.csv"), Wishes("mask", None, settings, recipe=recipe), tmp_path / "whole")
    calls = []
    part = {"stop": lambda: len(calls) > 4 or bool(calls.append(1))}
    api.train(lamina.open("texts.csv"), Wishes("mask", None, settings, recipe=recipe), tmp_path / "part", **part)
    done = api.resume(tmp_path / "part")
    assert done.run.history("resumed") and done.run.history("resumed")[0]["step"] < 12
    for (name, a), b in zip(whole.net.state_dict().items(), done.net.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
