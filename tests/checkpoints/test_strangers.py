"""Policies, checkpoints and settings from strangers, or from a disk that lies, are data.

Whatever a file holds, it is loaded as what it was or refused by the one class of error, in one
sentence. `make fuzz INPUTS=2000` tries so many inputs a test in place of the few that are tried
here.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import struct
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mjx_dm import config as configs
from mjx_dm.checkpoints import manifest, policy_file
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.manifest import CheckpointError
from mjx_dm.checkpoints.policy import keep_policy, load_policy
from mjx_dm.config import Config, ConfigError, replace, to_json
from mjx_dm.learner import make_learner
from mjx_dm.learner.networks import policy_network
from mjx_dm.training import normalisation
from mjx_dm.types import Spaces
from mjx_dm.validation import validate

SPACES = Spaces(6, 3, (-1.0, 0.0, -3.0), (1.0, 2.0, -1.0))
CONFIG = replace(Config(), actor_widths=(8,), critic_widths=(8,), num_components=2)
TREE = {"learner": {"w": np.arange(12.0, dtype=np.float32).reshape(3, 4)}, "none": np.zeros((0, 3))}
INPUTS = int(os.environ.get("FUZZ_INPUTS") or 0)


def inputs(few):
    """So many of them; the same in every run, but for `make fuzz`."""
    return settings(
        max_examples=INPUTS or few,
        derandomize=not INPUTS,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["..", "/etc/passwd", "../../x", "float32", "rbg", "bfloat16", "O"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def damage(draw, size):
    """bytes -> bytes: a byte flipped, a piece lost, doubled or made anew."""
    at, length = draw(st.integers(0, size - 1)), draw(st.integers(1, 64))
    kind = draw(st.sampled_from(["flip", "flip", "lose", "double", "put", "end"]))
    put, bits = draw(st.binary(min_size=1, max_size=8)), draw(st.integers(1, 255))

    def change(data):
        if kind == "flip":
            return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]
        if kind == "end":
            return data[:at]
        middle = {"lose": b"", "double": 2 * data[at : at + length], "put": put}[kind]
        return data[:at] + middle + data[at + length :]

    return change


@st.composite
def damage_of(draw, files):
    """A name of `files`, {name: bytes}, and what is done to it."""
    name = draw(st.sampled_from(sorted(files)))
    return name, draw(damage(len(files[name])))


@st.composite
def changed(draw, value):
    """A JSON value with one of its values replaced, removed or joined by another."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        name = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 5)) == 0:
            return {x: y for x, y in value.items() if x != name}
        return value | {name: draw(changed(value[name]))}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(changed(value[at])), *value[at + 1 :]]
    return draw(JSON)


def refused_or(load):
    """What `load` gives, or None where it raises a CheckpointError of one sentence."""
    try:
        return load()
    except CheckpointError as error:
        assert str(error).endswith(".") and "\n" not in str(error) and len(str(error)) < 2000
        return None


# Policies -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("policy"), np.random.default_rng(0)
    network, obs = policy_network(CONFIG, SPACES), jax.ShapeDtypeStruct((1, 6), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), obs)
    actor = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    keep_policy(folder, CONFIG, SPACES, 120, actor, normalisation.init((6,)), 3, 77.5)
    return folder


@pytest.fixture
def place(kept, tmp_path):
    """A copy of the policy, for a test to spoil."""
    return Path(shutil.copytree(kept, tmp_path / "policy"))


def same(left, right):
    arrays = (left.actor, left.normalizer), (right.actor, right.normalizer)
    jax.tree.map(np.testing.assert_array_equal, *arrays)
    return all(getattr(left, x) == getattr(right, x) for x in ("spaces", "network", "env_steps"))


@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors"])
def test_a_damaged_policy_is_refused_or_the_same(kept, place, name):
    whole, policy = (kept / name).read_bytes(), policy_file.read(kept / name)

    @inputs(100)
    @given(damage(len(whole)))
    def load(change):
        (place / name).write_bytes(change(whole))
        found = refused_or(lambda: policy_file.read(place / name))
        assert found is None or same(found, policy)

    load()


def test_every_byte_of_a_description_counts(kept, place):
    """Every ninth is flipped in one bit; with `make fuzz`, each in all eight."""
    whole, policy = (kept / "policy.json").read_bytes(), policy_file.read(kept / "policy.json")
    for at in range(0, len(whole), 1 if INPUTS else 9):
        for bit in range(8) if INPUTS else (at % 7,):
            (place / "policy.json").write_bytes(
                whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
            )
            found = refused_or(lambda: policy_file.read(place / "policy.json"))
            assert found is None or same(found, policy)


def reseal(folder, raw):
    raw = {name: x for name, x in raw.items() if name != "seal"}
    (folder / "policy.json").write_text(json.dumps(raw | {"seal": manifest.seal(raw)}))


def test_a_description_that_lies_is_refused_or_a_policy(kept, place):
    raw = json.loads((kept / "policy.json").read_text())

    @inputs(60)
    @given(changed(raw))
    def load(lie):
        if isinstance(lie, dict):
            reseal(place, lie)
        else:
            (place / "policy.json").write_text(json.dumps(lie))
        found = refused_or(lambda: load_policy(place))
        assert found is None or len(found.spaces.action_low) == found.spaces.action_size

    load()


def weights_of(folder):
    """The header and the numbers of a .safetensors file."""
    data = (folder / "policy.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def put_weights(folder, header, numbers):
    """Writes them, under a description that vouches for them."""
    data = struct.pack("<Q", len(header)) + header + numbers
    (folder / "policy.safetensors").write_bytes(data)
    raw = json.loads((folder / "policy.json").read_text())
    reseal(folder, raw | {"sha256": hashlib.sha256(data).hexdigest()})


def test_weights_that_lie_are_refused_or_a_policy(kept, place):
    header, numbers = weights_of(kept)

    @inputs(50)
    @given(changed(header), damage(len(numbers)))
    def load(lie, change):
        for given_header, given_numbers in ((lie, numbers), (header, change(numbers))):
            put_weights(place, json.dumps(given_header).encode(), given_numbers)
            refused_or(lambda: load_policy(place))

    load()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"shape": [10**5, 10**5, 10**5]}, "does not hold the weights"),
        ({"shape": [2**62, 2**62]}, "does not hold the weights"),
        ({"dtype": "I32"}, "is not of finite float32 numbers"),
        ({"dtype": "F128"}, "does not hold the weights"),
    ],
)
def test_a_header_that_claims_other_arrays_is_refused_before_they_are_made(
    kept, place, change, sentence
):
    header, numbers = weights_of(kept)
    name = max(header, key=lambda x: header[x].get("data_offsets", [0, 0])[1])
    put_weights(place, json.dumps(header | {name: header[name] | change}).encode(), numbers)
    with pytest.raises(CheckpointError, match=sentence):
        load_policy(place)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(kept, place, number):
    header, numbers = weights_of(kept)
    put_weights(place, json.dumps(header).encode(), np.float32(number).tobytes() + numbers[4:])
    with pytest.raises(CheckpointError, match="is not of finite float32 numbers"):
        load_policy(place)


def test_a_policy_of_format_1_has_no_seal_and_is_read(kept, place):
    raw = json.loads((kept / "policy.json").read_text())
    del raw["seal"]
    (place / "policy.json").write_text(json.dumps(raw | {"format": 1}))
    assert same(policy_file.read(place / "policy.json"), policy_file.read(kept / "policy.json"))
    (place / "policy.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match="seal is absent"):
        policy_file.read(place / "policy.json")


# Files of any kind --------------------------------------------------------------------------------


def huge(path):
    path.unlink()
    with path.open("wb") as stream:
        stream.truncate(2**33)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


def deep(path):
    path.write_text("[" * 200_000 + "]" * 200_000)


def doubled(path):
    path.write_text('{"format": 1, "version": 2,' + path.read_text().lstrip()[1:])


def endless(path):
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        *itertools.product(
            ["policy.json", "manifest", "config.json"], [huge, pipe, folder, endless, deep, doubled]
        ),
        *itertools.product(["policy.safetensors"], [huge, pipe, folder, endless]),
    ],
)
def test_what_is_no_file_of_its_kind_is_refused_at_once(place, tmp_path, name, spoil):
    run = tmp_path / "run"
    if name == "manifest":
        spoil(checkpoint.save(run / "checkpoints", 1, TREE) / "manifest.json")
    elif name == "config.json":
        run.mkdir()
        (run / name).write_text(json.dumps(to_json(CONFIG)))
        spoil(run / name)
    else:
        spoil(place / name)
    with pytest.raises(CheckpointError) as refusal:
        if name == "manifest":
            checkpoint.restore_arrays(run / "checkpoints")
        else:
            load_policy(run if name == "config.json" else place)
    assert "\n" not in str(refusal.value)


# Settings -----------------------------------------------------------------------------------------


def test_settings_that_lie_are_refused_or_settings(tmp_path):
    raw, path = to_json(CONFIG), tmp_path / "config.json"

    @inputs(100)
    @given(changed(raw), damage(len(json.dumps(raw))))
    def load(lie, change):
        for data in (json.dumps(lie).encode(), change(json.dumps(raw).encode())):
            path.write_bytes(data)
            with contextlib.suppress(ConfigError):
                assert isinstance(validate(configs.load(path)), Config)

    load()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run with a checkpoint of a learner's shapes."""
    folder, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    shapes = jax.eval_shape(make_learner(CONFIG, SPACES).init, jax.random.key(0))
    kept = {name: getattr(shapes, name) for name in ("average_actor", "critic")}
    learner = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), kept)
    normalizer = normalisation.init((6,))
    checkpoint.save(folder / "checkpoints", 120, {"learner": learner, "normalizer": normalizer})
    of_task = {"spaces": SPACES._asdict(), "task_version": 3}
    (folder / "config.json").write_text(json.dumps(to_json(CONFIG) | of_task))
    return folder


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("policy", "actor_widths", [2**31 - 1] * 2),
        ("policy", "actor_widths", [8] * 2000),
        ("critic", "num_atoms", 2**31 - 1),
        ("policy", "log_std_max", 1e39),
        ("policy", "\n", 1),
        ("physics", "engine", "\n" + "x" * 5000),
    ],
)
def test_settings_that_would_take_all_memory_or_all_day_are_refused_at_once(
    run_dir, tmp_path, group, name, value
):
    raw = json.loads((run_dir / "config.json").read_text())
    (tmp_path / "checkpoints").symlink_to(run_dir / "checkpoints")
    (tmp_path / "config.json").write_text(json.dumps(raw | {group: raw[group] | {name: value}}))
    with pytest.raises(CheckpointError) as refusal:
        load_policy(tmp_path)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 2000


def test_a_run_whose_settings_lie_is_refused_or_a_policy(run_dir, tmp_path):
    raw = json.loads((run_dir / "config.json").read_text())
    (tmp_path / "checkpoints").symlink_to(run_dir / "checkpoints")
    assert load_policy(run_dir).env_steps == 120

    @inputs(25)
    @given(changed(raw))
    def load(lie):
        (tmp_path / "config.json").write_text(json.dumps(lie))
        refused_or(lambda: load_policy(tmp_path))

    load()


@pytest.mark.parametrize(
    "tree",
    [
        {"learner": np.ones(3)},
        {"learner": {"average_actor": np.ones(3), "critic": np.ones(3)}, "normalizer": np.ones(3)},
        {"learner": np.ones(3), "normalizer": {"var": np.ones(3)}},
    ],
)
def test_a_checkpoint_of_something_else_is_no_policy(run_dir, tmp_path, tree):
    shutil.copy(run_dir / "config.json", tmp_path)
    checkpoint.save(tmp_path / "checkpoints", 1, tree)
    with pytest.raises(CheckpointError, match="does not hold a policy"):
        load_policy(tmp_path)


# Checkpoints --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of an intact checkpoint."""
    return checkpoint.save(tmp_path_factory.mktemp("checkpoints"), 120, TREE)


@pytest.fixture
def spoilt(saved, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(saved, tmp_path / "checkpoints" / saved.name))


def files_in(path):
    found = (x for x in path.rglob("*") if x.is_file() and x.stat().st_size)
    return sorted(x.relative_to(path).as_posix() for x in found)


def test_a_damaged_checkpoint_is_refused_or_the_same(saved, spoilt):
    whole = {name: (saved / name).read_bytes() for name in files_in(saved)}
    body = manifest.verify(saved)

    @inputs(100)
    @given(
        st.sampled_from(sorted(whole)).flatmap(
            lambda x: st.tuples(st.just(x), damage(len(whole[x])))
        )
    )
    def load(which):
        name, change = which
        (spoilt / name).write_bytes(change(whole[name]))
        assert refused_or(lambda: manifest.verify(spoilt)) in (None, body)
        (spoilt / name).write_bytes(whole[name])

    load()


def put_manifest(folder, body):
    body = {name: x for name, x in body.items() if name != "sha256"}
    text = json.dumps(body | {"sha256": manifest.seal(body)})
    (folder / "manifest.json").write_text(text)


def same_tree(found):
    np.testing.assert_array_equal(found["learner"]["w"], TREE["learner"]["w"])
    return found["none"].shape == (0, 3)


def test_a_manifest_that_lies_is_refused_or_tells_the_same(saved, spoilt):
    body = json.loads((saved / "manifest.json").read_text())

    @inputs(60)
    @given(changed(body))
    def load(lie):
        if isinstance(lie, dict):
            put_manifest(spoilt, lie)
        else:
            (spoilt / "manifest.json").write_text(json.dumps(lie))
        found = refused_or(lambda: checkpoint.restore_arrays(spoilt.parent))
        if found is not None:
            np.testing.assert_array_equal(found[1]["learner"]["w"], TREE["learner"]["w"])

    load()


@pytest.mark.slow
def test_a_tree_of_orbax_that_lies_is_refused_or_of_the_shapes_that_the_manifest_tells(
    saved, spoilt
):
    """A stranger vouches for a tree that Orbax and TensorStore have to make sense of."""
    whole = {x: (saved / x).read_bytes() for x in files_in(saved) if x != "manifest.json"}
    body = json.loads((saved / "manifest.json").read_text())

    @inputs(300)
    @given(
        st.sampled_from(sorted(whole)).flatmap(
            lambda x: st.tuples(st.just(x), damage(len(whole[x])))
        )
    )
    def load(which):
        name, change = which
        (spoilt / name).write_bytes(change(whole[name]))
        digest = manifest._digest(spoilt / name)
        put_manifest(spoilt, body | {"files": body["files"] | {name: digest}})
        found = refused_or(lambda: checkpoint.restore_arrays(spoilt.parent))
        if found is not None:
            assert found[1]["learner"]["w"].shape == (3, 4)
        (spoilt / name).write_bytes(whole[name])

    load()


@pytest.mark.parametrize("name", ["/etc/hostname", "../../outside", "tree/../../outside", "a//b"])
def test_a_file_outside_a_checkpoint_is_not_looked_at(saved, spoilt, name):
    (spoilt.parent.parent / "outside").write_text("secret")
    body = json.loads((saved / "manifest.json").read_text())
    digest = {"bytes": 6, "sha256": "0" * 64}
    put_manifest(spoilt, body | {"files": body["files"] | {name: digest}})
    with pytest.raises(CheckpointError, match="not inside the checkpoint") as refusal:
        checkpoint.restore_arrays(spoilt.parent)
    assert "6 bytes" not in str(refusal.value)


def test_a_link_out_of_a_checkpoint_is_not_followed(spoilt, tmp_path):
    name = files_in(spoilt / "tree")[0]
    (spoilt / "tree" / name).rename(tmp_path / "outside")
    (spoilt / "tree" / name).symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointError, match="symbolic link leads out"):
        checkpoint.restore_arrays(spoilt.parent)


@pytest.mark.parametrize("absent", ["files", "leaves", "step", "format"])
def test_a_sealed_manifest_that_lacks_a_part_is_one_sentence(saved, spoilt, absent):
    body = json.loads((saved / "manifest.json").read_text())
    del body[absent]
    put_manifest(spoilt, body)
    with pytest.raises(CheckpointError, match="its file manifest.json"):
        checkpoint.restore_arrays(spoilt.parent)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"shape": [10**15]}, "GiB, and this machine has"),
        ({"shape": [4, 3]}, r"is float32\[3, 4\], and its manifest says float32\[4, 3\]"),
        ({"dtype": "int32"}, r"is float32\[3, 4\], and its manifest says int32"),
        ({"dtype": "O"}, "its dtype is not that of numbers"),
        ({"path": ["learner", "v"]}, "Leaf learner.v of checkpoint .* is absent"),
        ({"path": ["none"]}, "two leaves in one place"),
        ({"path": ["none", "w"]}, "two leaves in one place"),
        ({"key_impl": "rbg"}, "no PRNG key"),
    ],
)
def test_leaves_are_held_against_the_tree_before_they_are_read(saved, spoilt, change, sentence):
    body = json.loads((saved / "manifest.json").read_text())
    leaves = [x | change if x["path"] == ["learner", "w"] else x for x in body["leaves"]]
    put_manifest(spoilt, body | {"leaves": leaves})
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint.restore_arrays(spoilt.parent)


def test_a_renamed_folder_is_not_taken_for_another_step(saved, spoilt):
    spoilt.rename(spoilt.with_name("000000000500"))
    with pytest.raises(CheckpointError, match="is of step 120: its folder was renamed"):
        checkpoint.restore_arrays(spoilt.parent)
