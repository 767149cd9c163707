"""A user's own runs as evidence: the algebra by hand, what is read from run folders, refused, and left out."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from advisor.cli import run as advisor
from advisor.evidence import own as own_module
from advisor.evidence.own import OwnRun, OwnScore, keep, read_own, read_own_run, read_run
from advisor.evidence.predictions import expect, for_model, predict_scores
from advisor.evidence.sharpening import (
    FINAL_SD,
    LENGTH_SD,
    Measured,
    effect,
    effect_lines,
    measure,
    posterior_of_mean,
    sharpen,
    unknown_of_mean,
    weights_of,
)
from advisor.evidence.table import Evidence, load_evidence
from advisor.measures.probe import Probe
from helpers import reading
from tuner.errors import DataError, MissingFileError, TransferError
from tuner.sealed import write_sealed
from tuner.search.expectations import USUAL_CORRELATION
from tuner.search.gaussian import logit
from tuner.search.space import Candidate, candidate_at

MINILM = "all-MiniLM-L6-v2"
PROBES = {"last": 0.70, "concat_last_four": 0.75, "weighted_all": 0.73}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user's folder for each test."""
    monkeypatch.setenv("TRANSFER_ADVISOR_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "evidence"


def evidence_of(between, *, mean=None, level=(0.0, 0.0, 0.0), n_datasets=3):
    """Evidence on as many items as there are rows, all of whose spread is between datasets."""
    k = len(between)
    zeros = tuple((0.0,) * k for _ in range(k))
    items = ("last", "concat_last_four", "weighted_all")[:k]
    return Evidence(
        kind="text", models=("m",), datasets=tuple(f"set {d}" for d in range(n_datasets)), rows=(100, 1000),
        probe="concat_last_four", items=items, rates={"low": 1e-5, "high": 1e-3}, mean=mean or (0.0,) * k,
        slope=(0.0,) * k, level=level, between=tuple(map(tuple, between)), within=zeros, seeds=(0.1, 0.1, 0.1),
        n_tasks=9,
    )  # fmt: skip


def measured(gains, of, noise, *, n=300):
    return Measured(gains=np.array(gains), of=np.array(of), noise=np.array(noise), n=n)


def scored(candidate, score, *, rate=None, rows=None):
    return OwnScore(candidate=candidate, score=score, learning_rate=rate, rows_seen=rows)


HEAD, TRAINED = candidate_at(7, 7), candidate_at(0, 7)
LOW, HIGH = load_evidence("text").rates["low"], load_evidence("text").rates["high"]
RUN = OwnRun(
    model=MINILM, model_fingerprint="weights", n_blocks=7, dataset="mine", fingerprint="data", kind="text",
    metric="accuracy", n=300, n_validation=60, probes=PROBES, n_test=75, added="2026-11-27",
    scores=(scored(TRAINED, 0.82, rate=LOW, rows=4800), scored(HEAD, 0.7)),
    tested=scored(TRAINED, 0.8, rate=LOW, rows=4800),
)  # fmt: skip


# -- the algebra, by hand ----------------------------------------------------------------------------------------------


def test_one_dataset_of_the_users_moves_the_mean_by_its_share():
    """Gains of mean 1 and variance 4 over three datasets; a fourth one gains 3."""
    evidence = evidence_of([[4.0]], mean=(1.0,))
    found = measured([3.0], [[1.0]], [[0.0]])
    shift, left = posterior_of_mean(evidence, [found], prior=np.array(evidence.between) / 4)
    assert shift == pytest.approx([0.5])  # the mean of 1, 1, 1 and 3 is 1.5
    assert left == pytest.approx(np.array([[0.75]]))  # 1 - 1 / 4
    noisy = measured([3.0], [[1.0]], [[1.0]])
    shift, left = posterior_of_mean(evidence, [noisy], prior=np.array(evidence.between) / 4)
    assert shift == pytest.approx([0.4])  # 1 / (4 + 1) of 2
    assert left == pytest.approx(np.array([[0.8]]))


def test_datasets_weigh_the_same():
    """The mean of three shipped datasets at 1, and of two own ones at 3 and 5, is 11 / 5."""
    evidence = evidence_of([[4.0]], mean=(1.0,))
    both = [measured([gain], [[1.0]], [[0.0]]) for gain in (3.0, 5.0)]
    assert posterior_of_mean(evidence, both, prior=np.array(evidence.between) / 4)[0] == pytest.approx([1.2])
    assert posterior_of_mean(evidence, both[::-1], prior=np.array(evidence.between) / 4)[0] == pytest.approx([1.2])


def test_what_was_not_tried_moves_with_what_was():
    """Two items that correlate by a half; of the user's dataset the second alone is known."""
    evidence = evidence_of([[4.0, 2.0], [2.0, 4.0]])
    shift, left = posterior_of_mean(
        evidence, [measured([2.0], [[0.0, 1.0]], [[0.0]])], prior=np.array(evidence.between) / 4
    )
    assert shift == pytest.approx([0.25, 0.5])
    assert left == pytest.approx(np.array([[1 - 0.0625, 0.5 - 0.125], [0.5 - 0.125, 1 - 0.25]]))


def test_sharpened_evidence_is_the_prior_and_the_shift():
    evidence = evidence_of([[4.0, 2.0], [2.0, 4.0]], mean=(0.1, 0.2))
    assert sharpen(evidence, [], model="another") == evidence
    run = replace(RUN, scores=(scored(HEAD, 0.9),), tested=scored(HEAD, 0.9))
    sharper = sharpen(evidence, [run], model="m")
    shift, left = posterior_of_mean(evidence, [measure(run, evidence)], prior=np.array(evidence.between) / 4)
    mean, covariance = sharper.gains(300)
    assert mean == pytest.approx(np.array([0.1, 0.2]) + shift)
    assert covariance == pytest.approx(np.array(evidence.between) * 3 / 4 + left)
    assert sharper.said == "3 text sets, m, 100 to 1,000 rows, and 1 run of your own"


def test_the_level_of_a_model_without_evidence_is_learned_fast_and_its_shape_is_not():
    """Of the level, 1.25 of 2.25 variances are of the mean; of the shape as much as for any model, one of four."""
    shape = np.array([[1.0, -1.0], [-1.0, 1.0]])
    evidence = evidence_of(shape, level=(4.0, 4.0, 4.0))
    prior = 1.25 * 4.0 + shape / 4
    settled = for_model(evidence, model="another")
    assert unknown_of_mean(settled) == pytest.approx(prior)
    assert unknown_of_mean(for_model(evidence, model="m")) == pytest.approx((4.0 + shape) / 4)
    both = measured([3.0, 1.0], np.eye(2), np.zeros((2, 2)))
    shift, _ = posterior_of_mean(settled, [both], prior=prior)
    assert shift.mean() == pytest.approx(2.0 * 1.25 / 2.25)  # the level that was measured is 2
    assert shift[0] - shift[1] == pytest.approx(2.0 * 0.25 / 2.25)  # and the difference 2


def test_covariances_stay_covariances_at_every_size():
    evidence = load_evidence("text")
    many = [replace(RUN, fingerprint=str(number), n=n) for number, n in enumerate((50, 100, 300, 1000, 10**5) * 8)]
    for model in (MINILM, "another"):
        sharper = sharpen(evidence, many, model=model)
        for n in (50, 300, 10**5):
            assert np.linalg.eigvalsh(sharper.gains(n)[1]).min() > -1e-5


def test_a_world_is_learned_from_partial_runs():
    """Runs that tried two of three items each find the mean of a model that differs from the shipped one."""
    evidence = evidence_of([[0.04, 0, 0], [0, 0.04, 0], [0, 0, 0.04]])
    truth = np.array([1.0, -1.0, 0.5])
    rng = np.random.default_rng(0)
    datasets = []
    for _ in range(400):
        of = np.eye(3)[rng.permutation(3)[:2]]
        datasets.append(measured(of @ (truth + rng.normal(0, 0.2, 3)), of, np.zeros((2, 2))))
    shift, left = posterior_of_mean(evidence, datasets, prior=np.array(evidence.between) / 2)
    assert shift == pytest.approx(truth, abs=0.03)
    assert np.sqrt(np.diag(left)).max() < 0.02


# -- what a run says ---------------------------------------------------------------------------------------------------


def test_scores_are_gains_over_the_runs_own_probe_and_share_the_noise_of_their_rows():
    evidence = load_evidence("text")
    found = measure(RUN, evidence)
    level = logit(0.75, n=300)
    assert found.gains == pytest.approx([logit(0.82, n=60) - level, logit(0.7, n=60) - level, logit(0.8, n=75) - level])
    spread = np.sqrt([1 / (60 * 0.82 * 0.18), 1 / (60 * 0.7 * 0.3), 1 / (75 * 0.8 * 0.2)])
    spread[2] = np.hypot(spread[2], FINAL_SD)  # it is of a fit on more rows; 4,800 rows of 240 are as usual
    assert np.sqrt(np.diag(found.noise)) == pytest.approx(spread, rel=0.03)
    assert found.noise[0, 1] == pytest.approx(USUAL_CORRELATION * spread[0] * spread[1])
    assert found.noise[2, :2] == pytest.approx([0.0, 0.0])  # the test rows are others
    assert found.of[1].tolist() == np.eye(len(evidence.items))[evidence.items.index("last")].tolist()
    assert found.of[2].tolist() == found.of[0].tolist()


def test_a_shorter_training_says_less():
    evidence = load_evidence("text")
    short = replace(RUN, scores=(replace(RUN.scores[0], rows_seen=600), RUN.scores[1]))
    usual, less = measure(RUN, evidence).noise, measure(short, evidence).noise
    assert less[0, 0] - usual[0, 0] == pytest.approx((LENGTH_SD * np.log(8)) ** 2)
    less[0, 0] = usual[0, 0]
    assert less == pytest.approx(usual)


def test_a_search_that_had_time_for_one_fit_is_measured_by_its_test_score():
    evidence = load_evidence("text")
    found = measure(replace(RUN, scores=RUN.scores[1:]), evidence)
    assert found.gains.tolist() == measure(RUN, evidence).gains[1:].tolist()
    assert len(measure(replace(RUN, scores=()), evidence).gains) == 1


def test_a_rate_between_the_two_of_the_evidence_lies_between_them():
    evidence = load_evidence("text")

    def weights(rate):
        found = weights_of(scored(TRAINED, 0.8, rate=rate), 7, evidence)
        return {item: round(w, 3) for item, w in zip(evidence.items, found, strict=True) if w}

    assert weights(LOW / 2) == {"trained 0.000 low": 1.0}
    assert weights(HIGH * 2) == {"trained 0.000 high": 1.0}
    assert weights((LOW * HIGH) ** 0.5) == {"trained 0.000 low": 0.5, "trained 0.000 high": 0.5}


@pytest.mark.parametrize(
    "candidate",
    [
        replace(TRAINED, start="scratch"), replace(TRAINED, augmentation="mixup"), replace(TRAINED, option="fresh_top"),
        replace(TRAINED, head="native"), replace(HEAD, top="bilstm"),
        Candidate(strategy="feature_based", frozen_blocks=None, features="block_3"),
    ],
)  # fmt: skip
def test_what_the_evidence_has_no_item_for_is_passed_over(candidate):
    evidence = load_evidence("text")
    assert weights_of(scored(candidate, 0.9, rate=LOW), 7, evidence) is None
    run = replace(RUN, scores=(*RUN.scores, scored(candidate, 0.9, rate=LOW)))
    assert measure(run, evidence).gains.tolist() == measure(RUN, evidence).gains.tolist()
    assert measure(replace(RUN, scores=run.scores[2:], tested=run.scores[2]), evidence) is None


def test_single_blocks_count_by_the_name_that_the_evidence_has():
    evidence = load_evidence("text")
    first = Candidate(strategy="feature_based", frozen_blocks=None, features="block_0")
    found = weights_of(scored(first, 0.6), 7, evidence)
    assert evidence.items[int(found.argmax())] == "embeddings"


def test_own_runs_turn_the_advice_of_their_model():
    """Twelve datasets on which the head alone is far ahead."""
    scores = (scored(TRAINED, 0.55, rate=LOW, rows=4800), scored(HEAD, 0.9))
    many = [replace(RUN, fingerprint=str(d), n_validation=400, scores=scores, tested=scores[1]) for d in range(12)]
    evidence = load_evidence("text")
    probes = [Probe(features=n, block=None, score=s, interval=(s, s), l2=1.0) for n, s in PROBES.items()]

    def best(some):
        return predict_scores(expect(some, probes, n=300, n_blocks=7, model=MINILM), n_blocks=7)

    before, after = best(evidence), best(sharpen(evidence, many, model=MINILM))
    assert before[0].candidate == TRAINED
    assert after[0].candidate.frozenness(7) >= 6
    assert after[0].why.startswith("16 text sets, all-MiniLM-L6-v2, 100 to 1,000 rows, and 12 runs of your own; ")
    found = effect(evidence, many)
    assert (found.runs, found.n, found.probe) == (12, 300, pytest.approx(0.75))
    lines = effect_lines(found)
    assert lines[0].startswith("all-MiniLM-L6-v2 on texts, from 16 text sets")
    assert lines[-1].startswith("  advised before: everything trained; now: ")
    everything = next(change for change in found.changes if change.candidate == "everything trained")
    assert everything.after < everything.before - 0.015  # at the rate that was not tried


def test_a_strangers_own_runs_take_the_warning_away():
    evidence = load_evidence("text")
    probes = [Probe(features=n, block=None, score=s, interval=(s, s), l2=1.0) for n, s in PROBES.items()]
    sharper = sharpen(evidence, [replace(RUN, model="another")], model="another")
    why = expect(sharper, probes, n=300, n_blocks=4, model="another").why
    assert why == f"{evidence.said}, and 1 run of your own; level from the probe concat last four"
    own, stranger = (
        predict_scores(expect(some, probes, n=300, n_blocks=4, model="another"), n_blocks=4)
        for some in (sharper, evidence)
    )
    widths = [{p.candidate: np.diff(logit(np.array(p.interval), n=10**9)).item() for p in some}
              for some in (own, stranger)]  # fmt: skip
    assert all(widths[0][candidate] < width for candidate, width in widths[1].items())


# -- run folders -------------------------------------------------------------------------------------------------------


def advice(**changes):
    """An ``advice.json`` as far as it is read."""
    candidate = HEAD.to_json()
    stored = {
        "schema": 1, "metric": "accuracy", "seed": 0, "warnings": [], "next_command": "advisor tune mine.csv",
        "model": {"id": MINILM, "sha256": "weights", "n_blocks": 7, "max_length": 128},
        "data": {
            "name": "mine", "kind": "text", "task": "sequence_classification", "n_examples": 375, "n_classes": 2,
            "fingerprint": "data", "columns": {"text": "text", "label": "label"}, "class_counts": {"a": 200, "b": 175},
            "splits": {"train": 240, "validation": 60, "test": 75, "given": []},
        },
        "size": {"verdict": "small", "why": "few"}, "similarity": {"verdict": "unmeasured", "why": "no source"},
        "situation": {"probabilities": None, "number": None, "name": None},
        "strategy": {"name": "train_all", "features": None, "classic_rule": None, "decided_by": "evidence",
                     "reasons": []},
        "freeze": {"recommended": 0},
        "space": {"n_blocks": 7, "first": [candidate], "controls": [], "depths": [0, 7], "learning_rate": [2e-5, 5e-4],
                  "head_ratio": [1, 30], "epochs": [2, 12]},
        "baselines": {"majority": {"score": 0.5}, "tfidf_linear": {"score": 0.6, "interval": [0.5, 0.7]}},
        "probes": [{"features": name, "block": None, "score": score} for name, score in PROBES.items()],
    }  # fmt: skip
    return changed(stored, changes)


def tuning(**changes):
    """A ``tuning.json`` as far as it is read."""
    recipe = {"learning_rate": LOW, "head_ratio": 5.0, "epochs": 20.0, "steps": 300.0}
    row = {"sd": None, "n": 1, "seconds": 9.0}
    stored = {
        "schema": 1, "baselines": {}, "metric": "accuracy", "n_blocks": 7, "stopped_because": "budget", "warnings": [],
        "changed_from_advice": None,
        "candidates": [
            TRAINED.to_json() | row | {"mean": 0.82, "recipe": recipe},
            HEAD.to_json() | row | {"mean": 0.7, "recipe": {"l2": 30.0}},
        ],
        "winner": {"candidate": TRAINED.to_json(), "params": recipe,
                   "test": {"score": 0.8, "interval": [0.7, 0.9], "n": 75}},
        "split_sizes": {"train": 240, "validation": 60, "test": 75},
    }  # fmt: skip
    return changed(stored, changes)


def changed(stored, changes):
    """`a__b=value` changes ``stored["a"]["b"]``; a value of ... removes it."""
    for path, value in changes.items():
        *keys, last = path.split("__")
        place = stored
        for key in keys:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return stored


def run_folder(folder, *, advised=None, tuned=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "advice.json").write_text(json.dumps(advised or advice()))
    (folder / "tuning.json").write_text(json.dumps(tuned or tuning()))
    return folder


def test_a_finished_run_is_read(tmp_path):
    folder = run_folder(tmp_path / "run")
    found = read_run(folder)
    assert replace(found, added=RUN.added) == RUN
    (folder / "model").mkdir()
    shutil.copy(folder / "advice.json", folder / "model")
    assert read_run(folder / "model") == found


def test_what_was_kept_is_read_back(home):
    path, replaced = keep(RUN)
    assert (path.parent, replaced) == (home, False)
    assert read_own() == ((RUN,), ())
    better = replace(RUN, n_test=80)
    assert keep(better) == (path, True)
    keep(replace(RUN, fingerprint="other data"))
    keep(replace(RUN, model_fingerprint="other weights"))
    keep(replace(RUN, metric="macro_f1"))
    found, warnings = read_own()
    assert (len(found), warnings) == (4, ())
    assert better in found
    fit = own_module.fitting(found, model_fingerprint="weights", kind="text", metric="accuracy")
    assert {run.fingerprint for run in fit} == {"data", "other data"}


def test_names_that_are_no_file_names_are_kept_too(home):
    path, _ = keep(replace(RUN, model="org/model", dataset="../../etc/pass wd ü" * 30))
    assert path.parent == home
    assert len(path.name) < 120
    assert len(read_own()[0]) == 1


@pytest.mark.parametrize(
    ("advised", "tuned", "said"),
    [
        (
            {"data__task": "token_classification", "baselines__token_linear": None, "baselines__entity_lookup": None},
            {},
            "tags words",
        ),
        ({"data__task": "token_classification"}, {}, "tags words"),
        ({}, {"schema": 2}, "schema 2"),
        ({"schema": 2}, {}, "schema 2"),
        ({}, {"n_blocks": 13}, "of another search"),
        ({}, {"metric": "macro_f1"}, "of another search"),
        ({}, {"winner__test__score": 1.5}, "numbers that no search writes"),
        ({"data__splits__train": ...}, {}, r"data\.splits\.train is missing"),
        ({"probes": ...}, {}, "probes is missing"),
        ({"probes": [{"features": "last"}]}, {}, r"probes\.score is missing"),
        ({"data__kind": "sound"}, {}, "numbers that no search writes"),
        ({}, {"split_sizes__validation": 0}, "numbers that no search writes"),
    ],
)  # fmt: skip
def test_what_cannot_be_evidence_is_refused(tmp_path, capsys, home, advised, tuned, said):
    folder = run_folder(tmp_path / "run", advised=advice(**advised), tuned=tuning(**tuned))
    with pytest.raises(TransferError, match=said):
        read_run(folder)
    assert advisor(["evidence", "add", str(folder)]) == 2
    printed = capsys.readouterr().err
    assert "why: " in printed
    assert "fix: " in printed
    assert not home.exists()


def test_folders_that_are_no_finished_runs_are_refused(tmp_path, capsys):
    assert advisor(["evidence", "add", str(tmp_path / "none")]) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="holds no run"):
        read_run(tmp_path / "empty")
    folder = run_folder(tmp_path / "advised")
    (folder / "tuning.json").unlink()
    with pytest.raises(DataError, match="holds no finished search") as caught:
        read_run(folder)
    assert caught.value.fix == f"run the search to its end: advisor tune mine.csv --out {folder} --resume"
    (folder / "tuning.json").write_text("{")
    with pytest.raises(DataError, match="not readable JSON"):
        read_run(folder)
    capsys.readouterr()


def test_a_run_that_the_evidence_has_nothing_to_compare_with_is_refused(tmp_path, capsys, home):
    scratch = replace(TRAINED, start="scratch").to_json()
    row = scratch | {"mean": 0.5, "sd": None, "n": 1, "seconds": 1.0, "recipe": {}}
    folder = run_folder(tmp_path / "run", tuned=tuning(candidates=[row], winner__candidate=scratch))
    assert advisor(["evidence", "add", str(folder)]) == 2
    assert "holds no candidate that the evidence knows: trained from scratch (control)" in capsys.readouterr().err
    assert not home.exists()


def test_one_refused_run_keeps_none(tmp_path, capsys, home):
    good, bad = run_folder(tmp_path / "good"), run_folder(tmp_path / "bad", tuned=tuning(schema=9))
    assert advisor(["evidence", "add", str(good), str(bad)]) == 2
    assert not home.exists()
    capsys.readouterr()


# -- files that are left out -------------------------------------------------------------------------------------------


def spoil(path, **changes):
    """The file with other values and a checksum that fits them."""
    write_sealed(path, changed(RUN.to_json(), changes))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged: it is no JSON"),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_text("[]"), "holds no named values"),
        (lambda path: path.write_text(path.read_text().replace("0.82", "0.99")), "differs from its checksum"),
        (lambda path: path.write_text(path.read_text().replace("0.82", "NaN")), "NaN is no number"),
        (lambda path: path.write_text('{"version": 1}'), "lacks its checksum"),
        (lambda path: spoil(path, version=7), "is evidence of version 7; this program reads version 1"),
        (lambda path: spoil(path, model=""), "is of an unknown model"),
        (lambda path: spoil(path, model_fingerprint=...), "is of an unknown model"),
        (lambda path: spoil(path, scores=...), "scores is missing"),
        (lambda path: spoil(path, n="300"), "n is not what it should be"),
        (lambda path: spoil(path, tested__score=-1.0), "numbers that no search writes"),
        (lambda path: spoil(path, tested={"score": 0.5}), "tested.candidate is missing"),
        (lambda path: spoil(path, more=1), "no run of this version"),
        (lambda path: spoil(path, dataset="another"), "it holds the run"),
        (lambda path: spoil(path, probes={"last": "high"}), r"probes.last is not what it should be"),
    ],
)
def test_damaged_evidence_is_named_and_the_rest_is_used(home, capsys, damage, said):
    path, _ = keep(RUN)
    other = replace(RUN, fingerprint="other")
    keep(other)
    damage(path)
    with pytest.raises(DataError):
        read_own_run(path)
    found, warnings = read_own()
    assert found == (other,)
    (warning,) = warnings
    assert str(path) in warning
    assert said in warning
    assert "advisor evidence add" in warning
    assert advisor(["evidence", "list"]) == 0
    printed = capsys.readouterr()
    assert str(path) in printed.err
    assert printed.out.count(MINILM) == 1


def test_a_kept_run_is_read_back_as_it_was():
    assert reading.check_reading(OwnRun, RUN) == RUN
    assert reading.check_reading(OwnScore, RUN.tested) == RUN.tested


# -- the commands ------------------------------------------------------------------------------------------------------


def test_add_list_and_fit(tmp_path, capsys, home):
    assert advisor(["evidence", "list"]) == 0
    assert advisor(["evidence", "fit"]) == 0
    assert capsys.readouterr().out.count("no runs of your own yet") == 2
    folder = run_folder(tmp_path / "run")
    assert advisor(["evidence", "add", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("added    mine with all-MiniLM-L6-v2: 300 labelled rows, 2 candidates (")
    assert "takes the place" not in printed
    shutil.rmtree(folder)  # what was kept needs the run no longer
    again = run_folder(tmp_path / "again")
    assert advisor(["evidence", "add", str(again)]) == 0
    assert "it takes the place of an earlier run of the same dataset" in capsys.readouterr().out
    assert advisor(["evidence", "list"]) == 0
    header, row, place = capsys.readouterr().out.splitlines()
    assert header.split() == ["model", "dataset", "rows", "candidates", "added"]
    assert row.split()[:4] == [MINILM, "mine", "300", "2"]
    assert place == f"in {home}"
    assert advisor(["evidence", "fit", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["effects"]
    assert found["runs"] == 1
    assert found["said"].endswith("and 1 run of your own")
    assert advisor(["evidence", "fit"]) == 0
    assert "everything trained" in capsys.readouterr().out


def test_advice_says_that_own_runs_are_in_it_unless_they_are_ignored(home, tmp_path):
    from advisor import recommend
    from helpers.tiny import WORDS, save_model

    model = save_model(tmp_path / "tiny")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 6)) + f" {i}" for i in range(120)]
    rows = (texts, ["a" if "good" in text or "cat" in text else "b" for text in texts])
    plain = recommend(rows, model=model)
    assert "own" not in plain.predicted[0].why
    fingerprint = plain.model["sha256"]
    keep(
        replace(RUN, model="tiny", model_fingerprint=fingerprint, n_blocks=4, scores=(scored(candidate_at(4, 4), 0.7),))
    )
    keep(replace(RUN, model="tiny", model_fingerprint="another"))
    keep(replace(RUN, model="tiny", model_fingerprint=fingerprint, metric="macro_f1"))
    (home / "broken.json").write_text("{")
    sharper = recommend(rows, model=model)
    assert sharper.predicted[0].why.startswith(
        "16 text sets, all-MiniLM-L6-v2, 100 to 1,000 rows, and 1 run of your own"
    )
    assert any("and 1 run of your own" in reason for reason in sharper.strategy.reasons)
    assert [warning for warning in sharper.warnings if "broken.json" in warning]
    ignored = recommend(rows, model=model, own_evidence=False)
    assert [replace(p, seconds=None) for p in ignored.predicted] == [replace(p, seconds=None) for p in plain.predicted]
    assert not [warning for warning in ignored.warnings if "broken.json" in warning]


def test_damaged_shipped_evidence_is_named_and_the_answer_not_known(monkeypatch, tmp_path):
    from advisor import recommend
    from advisor.advice import expected
    from advisor.evidence.table import read_evidence
    from helpers.tiny import WORDS, save_model

    (tmp_path / "text.json").write_text("{")
    monkeypatch.setattr(expected, "load_evidence", lambda kind: read_evidence(tmp_path / f"{kind}.json"))
    texts = [f"{WORDS[i % 20]} {i}" for i in range(60)]
    advised = recommend((texts, ["a", "b"] * 30), model=save_model(tmp_path / "tiny"))
    assert advised.predicted == ()
    assert [warning for warning in advised.warnings if str(tmp_path / "text.json") in warning]
