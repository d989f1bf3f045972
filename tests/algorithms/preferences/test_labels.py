"""A user's labels: both file types, and every kind of bad row named with its number and reason."""

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from jaxrl.algorithms.preferences import labels
from jaxrl.algorithms.preferences.reward_fitting import Config, make
from jaxrl.algorithms.preferences.reward_models import Tabular
from jaxrl.algorithms.preferences.segments import single_steps
from jaxrl.core.spaces import Discrete
from jaxrl.errors import DataError
from jaxrl.training.runner import run

POOL = single_steps(jnp.arange(4), jnp.zeros(4, jnp.int32))


def csv(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    return path


def test_csv(tmp_path):
    path = csv(tmp_path, "rater,first,second,label,weight\nann,0,1,1,1\nbob,2,3,0.25,2.5\n")
    found = labels.read(path, POOL)
    np.testing.assert_array_equal(found.first, [0, 2])
    np.testing.assert_array_equal(found.second, [1, 3])
    np.testing.assert_allclose(found.label, [1.0, 0.25])
    np.testing.assert_allclose(found.weight, [1.0, 2.5])
    assert found.label.dtype == np.float32
    assert found.first.dtype == np.int32


@pytest.mark.parametrize("integers", [True, False])
def test_parquet_with_names_of_segments(tmp_path, integers):
    path = tmp_path / "mine.parquet"
    names = [10, 20, 30, 40] if integers else ["a", "b", "c", "d"]
    table = pa.table({"first": [names[3], names[0]], "second": [names[1], names[2]], "label": [0.5, 1.0]})
    parquet.write_table(table, path)
    found = labels.read(path, POOL, names)
    np.testing.assert_array_equal(found.first, [3, 0])
    np.testing.assert_array_equal(found.second, [1, 2])
    np.testing.assert_allclose(found.weight, 1.0)


def test_what_was_read_can_be_fitted(tmp_path):
    """Three rows say that 0 beats 1, 1 beats 2 and 2 beats 3: the fitted table falls."""
    data = labels.read(csv(tmp_path, "first,second,label\n0,1,1\n2,1,0\n2,3,1\n"), POOL)
    model = Tabular(Discrete(4), Discrete(1), ("obs",))
    config = Config(model, learning_rate=0.05, num_epochs=50, num_minibatches=1)
    table = np.asarray(run(make, data, config, seeds=1, num_updates=2).state.reward_params[0])
    assert (np.diff(table) < 0).all()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("0,1,1.2", r"row 2: label 1.2 is not in \[0, 1\]"),
        ("0,1,-0.1", r"row 2: label -0.1 is not in \[0, 1\]"),
        ("0,1,nan", "row 2: label is NaN"),
        ("0,1,", "row 2: label is missing"),
        ("0,1,left", "row 2: label 'left' is no number"),
        ("7,1,1", "row 2: first '7' is no segment"),
        ("0,x,1", "row 2: second 'x' is no segment"),
        (",1,1", "row 2: first is missing"),
        ("3,3,1", "row 2: first and second are the same segment '3'"),
        ("3,3,7", r"row 2: first and second are the same segment '3', label 7 is not in \[0, 1\]"),
        ("9,1,2", r"row 2: first '9' is no segment.*, label 2 is not in \[0, 1\]"),
        ("0,1,1\n0,1,2\n0,5,1", r"row 3: label 2 is not in \[0, 1\]; row 4: second '5' is no segment"),
    ],
)
def test_bad_rows_are_named_with_their_reason(tmp_path, rows, reason):
    with pytest.raises(DataError, match=reason):
        labels.read(csv(tmp_path, f"first,second,label\n0,1,1\n{rows}\n"), POOL)


@pytest.mark.parametrize(
    ("weight", "reason"), [("-1", "row 1: weight -1 is not"), ("inf", "row 1: weight inf is not"), ("", "weight is missing")]
)
def test_bad_weights(tmp_path, weight, reason):
    with pytest.raises(DataError, match=reason):
        labels.read(csv(tmp_path, f"first,second,label,weight\n0,1,1,{weight}\n"), POOL)


def test_nan_in_parquet(tmp_path):
    path = tmp_path / "mine.parquet"
    parquet.write_table(pa.table({"first": [0, 1], "second": [1, None], "label": [float("nan"), 1.0]}), path)
    with pytest.raises(DataError, match="row 1: label is NaN; row 2: second is missing"):
        labels.read(path, POOL)


def test_many_bad_rows_are_counted(tmp_path):
    with pytest.raises(DataError, match=r"row 5: label 3 is not in \[0, 1\]; and 15 more rows"):
        labels.read(csv(tmp_path, "first,second,label\n" + "0,1,3\n" * 20), POOL)


def test_a_near_name_is_suggested(tmp_path):
    with pytest.raises(DataError, match=r"first 'walk_1' is no segment \(did you mean 'walk-1'\?\)"):
        labels.read(csv(tmp_path, "first,second,label\nwalk_1,c,1\n"), POOL, ["walk-1", "b", "c", "d"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("first,label\n0,1\n", "there must be a column 'second'"),
        ("first,second,labels\n0,1,1\n", "there must be a column 'label'.*Rename 'labels'"),
        ("first,second,label\n", "at least one row"),
        ("", "must be readable"),
    ],
)
def test_bad_files(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        labels.read(csv(tmp_path, text), POOL)


def test_missing_and_strange_files(tmp_path):
    with pytest.raises(DataError, match="must be readable"):
        labels.read(tmp_path / "none.csv", POOL)
    with pytest.raises(DataError, match=r"must end in .csv, .parquet or .jsonl, got '.txt'"):
        labels.read(tmp_path / "mine.txt", POOL)
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="must be readable"):
        labels.read(torn, POOL)


def test_names_must_fit_the_pool(tmp_path):
    path = csv(tmp_path, "first,second,label\na,b,1\n")
    with pytest.raises(DataError, match="one name for each of the 4 segments, got 2"):
        labels.read(path, POOL, ["a", "b"])
    with pytest.raises(DataError, match=r"names of the segments must differ, got \['a'\]"):
        labels.read(path, POOL, ["a", "a", "b", "c"])


def test_a_column_of_a_parquet_file_that_is_there_twice_is_refused(tmp_path):
    columns = {"first": [0], "second": [1], "label": [1.0], "again": [0.0]}
    table = pa.table(columns).rename_columns(["first", "second", "label", "label"])
    parquet.write_table(table, tmp_path / "labels.parquet")
    with pytest.raises(DataError, match=r"each column must be there once, got \['label'\]"):
        labels.read(tmp_path / "labels.parquet", POOL)
