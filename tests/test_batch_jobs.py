"""Jobs: how they are read from files, what is refused and where it says so, and what makes two of them the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import milpcomp as mc
from milpcomp.batches.jobs import Job
from milpcomp.batches.reading import read_jobs
from milpcomp.domain import Box
from milpcomp.errors import CheckpointError, SettingsError
from milpcomp.network.storage import save_network
from tests.nets import diamond, mlp

VNNLIB = """
(declare-const X_0 Real) (declare-const X_1 Real)
(assert (or (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1)) (and (>= X_0 2) (<= X_0 3) (>= X_1 2) (<= X_1 3))))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two networks, a point and a property."""
    (tmp_path / "nets").mkdir()
    save_network(diamond(), tmp_path / "nets" / "a.npz")
    save_network(mlp([2, 3, 1], np.random.default_rng(0)), tmp_path / "nets" / "b.npz")
    np.save(tmp_path / "x.npy", np.array([0.5, 0.9]))
    (tmp_path / "two.vnnlib").write_text(VNNLIB)
    return tmp_path


def read(folder: Path, text: str, name: str = "jobs.yaml") -> tuple[Job, ...]:
    """Write a file of jobs and read it."""
    (folder / name).write_text(text)
    return read_jobs(folder / name)


def test_yaml_is_the_product_of_its_lists(folder: Path) -> None:
    """Two networks, three domains and two settings are twelve jobs, named and in the order of the file."""
    jobs = read(
        folder,
        "networks: nets/*.npz\n"
        "domains:\n  - [0, 1]\n  - {around: x.npy, radius: [0.1, 1e-1], clip: [0, 1], name: ball}\n"
        "settings: [{seed: 1}, {time_limit_s: 5, name: short}]\ntask: certify\nmemory_limit_mb: 900\n",
    )
    assert [job.network_name for job in jobs] == ["a"] * 6 + ["b"] * 6
    assert [job.domain_name for job in jobs[:6:2]] == ["[0, 1]", "ball x +- 0.1", "ball x +- 0.1"]
    assert [job.settings_name for job in jobs[:2]] == ["seed=1", "short"]
    assert {job.task for job in jobs} == {"certify"}
    assert {job.memory_limit_mb for job in jobs} == {900}
    assert jobs[1].settings["time_limit_s"] == 5.0
    assert np.array_equal(jobs[2].domain.upper, [0.6, 1.0])
    assert jobs[2].identity == jobs[4].identity  # 1e-1 is a text in YAML, and a tenth all the same


def test_yaml_may_list_products_and_domains_may_be_properties(folder: Path) -> None:
    """Products follow each other; a property with two boxes is two domains, or the one that is chosen."""
    jobs = read(
        folder,
        "- {networks: [nets/a.npz], domains: [{vnnlib: two.vnnlib}]}\n"
        "- {networks: {path: nets/b.npz, name: other}, domains: {vnnlib: '*.vnnlib', box: 2}}\n",
    )
    assert [job.name for job in jobs] == ["a, two box 1", "a, two box 2", "other, two box 2"]
    assert jobs[1].domain.digest == jobs[2].domain.digest != jobs[0].domain.digest


def test_csv_is_a_product_in_a_row(folder: Path) -> None:
    """A CSV file means what the same YAML means, cell by cell; empty cells are defaults."""
    jobs = read(
        folder,
        "network,lower,upper,around,radius,clip,task,seed,time_limit_s,memory_limit_mb\n"
        'nets/*.npz,0,1,,,,certify,1,,\nnets/a.npz,,,x.npy,0.1,"[0, 1]",,,5,900\n',
        "jobs.csv",
    )
    same = read(
        folder,
        "- {networks: nets/*.npz, domains: [0, 1], settings: {seed: 1}, task: certify}\n"
        "- {networks: nets/a.npz, domains: {around: x.npy, radius: 0.1, clip: [0, 1]}, settings: {time_limit_s: 5}}\n",
    )
    assert [job.identity for job in jobs] == [job.identity for job in same]
    assert jobs[2].memory_limit_mb == 900


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("networks: [", r"jobs\.yaml, line 1: this is no YAML"),
        ("networks: [*.npz]\ndomains: [0, 1]", r"line 1: .*quote a pattern"),
        ("[]", "holds no jobs"),
        ("3", "a mapping with `networks` and `domains`"),
        ("{networks: nets/a.npz}", "there is no `domains`; jobs are given"),
        ("{netwroks: nets/a.npz, domains: [0, 1]}", r"unknown \['netwroks'\]; known are networks, domains"),
        ("networks: nets/a.npz\ndomains: [0, 1]\nnetworks: nets/b.npz", "line 3: .*`networks` stands twice"),
        ("{networks: nets/a.npz, domains: [{lower: 0, upper: 1, upper: 2}]}", "`upper` stands twice"),
        ("{networks: nets/a.npz, domains: [2020-99-99, 1]}", "this is no YAML: month"),
        ("{networks: [{path: nets/a.npz, input_shape: abc}], domains: [0, 1]}", "networks, entry 1: input_shape='abc'"),
        (
            "{networks: [{path: nets/a.npz, architecture: [1]}], domains: [0, 1]}",
            "entry 1: architecture must be a text",
        ),
        ("{networks: [nets/a.npz, nets], domains: [0, 1]}", r'entry 2: .*nets is a folder; .*such as "nets/\*\.onnx"'),
        (
            "{networks: nets/a.npz, domains: [{lower: 0, upper: 1, radius: 3}]}",
            r"\['radius'\] mean nothing beside `lower`",
        ),
        (
            "{networks: nets/a.npz, domains: [{vnnlib: two.vnnlib, upper: 3}]}",
            r"\['upper'\] mean nothing beside `vnnlib`",
        ),
        ("{networks: nets/a.npz, domains: [{around: x.npy, radius: [[1]]}]}", "the radius must be a number or a list"),
        ("{networks: nets/a.npz, domains: [0, 1], settings: {device: 2020-01-01}}", "the setting device cannot be"),
        ("{networks: nets/a.npz, domains: [0, 1], settings: {seed: }}", "the setting seed cannot be None"),
        ("{networks: nets/a.npz, domains: [0, 1], task: [certify]}", r"unknown task \['certify'\]"),
        ("{networks: nets/a.npz, domains: [0, 1], task: {}}", "unknown task {}"),
        ("{networks: nets/a.npz, domains: [0, 1], memory_limit_mb: abc}", "memory_limit_mb must be .*'abc'"),
        ("{networks: nets/a.npz, domains: [0, 1], memory_limit_mb: [1]}", r"memory_limit_mb must be .*\[1\]"),
        ("{networks: nets/a.npz, domains: [0, 1], memory_limit_mb: .inf}", "memory_limit_mb must be .*inf"),
        ("{networks: nets/a.npz, domains: [0, 1], domain: 3}", r"unknown \['domain'\]"),
        ("{networks: [], domains: [0, 1]}", "`networks` is empty"),
        ("{networks: nets/c.npz, domains: [0, 1]}", r"networks, entry 1: there is no file .*c\.npz"),
        ("{networks: [nets/a.npz, 7], domains: [0, 1]}", "networks, entry 2: it must be a path"),
        ("{networks: nets/a.npz, domains: [[0, 1], [1, 0]]}", "domains, entry 2: the box is empty"),
        ("{networks: nets/a.npz, domains: [{around: x.npy}]}", "domains, entry 1: around needs a radius"),
        ("{networks: nets/a.npz, domains: [{lower: 0, vnnlib: two.vnnlib}]}", "entry 1: give one of"),
        ("{networks: nets/a.npz, domains: [{vnnlib: two.vnnlib, box: 3}]}", "describes 2 boxes, and 3 is none"),
        ("{networks: nets/a.npz, domains: [{lower: zero, upper: 1}]}", "numbers are needed, not 'zero'"),
        ("{networks: nets/a.npz, domains: [0, 1], settings: [{sed: 1}]}", r"unknown settings \['sed'\]"),
        ("{networks: nets/a.npz, domains: [0, 1], settings: {seed: x}}", "setting seed cannot be 'x'"),
        ("{networks: nets/a.npz, domains: [0, 1], settings: {method: magic}}", "unknown method 'magic'"),
        ("{networks: nets/a.npz, domains: [0, 1], settings: {time_limit_s: 0}}", "must be a positive number"),
        ("{networks: nets/a.npz, domains: [0, 1], task: shrink}", "unknown task 'shrink'"),
        ("{networks: nets/a.npz, domains: [0, 1], memory_limit_mb: -1}", "memory_limit_mb must be"),
    ],
)
def test_a_mistake_in_yaml_is_said_with_its_place(folder: Path, text: str, message: str) -> None:
    """Whatever is wrong, one error names the file, the entry and what to do."""
    with pytest.raises(SettingsError, match=message) as caught:
        read(folder, text)
    assert str(folder / "jobs.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the columns must be named, .* found none"),
        ("network;lower;upper\nnets/a.npz;0;1\n", "with commas between; found 'network;lower;upper'"),
        ("nets/a.npz,0,1\n", "line 1: the columns must be named, .* found 'nets/a.npz', '0', '1'"),
        ("network,lower,lower\n", r"line 1: the columns \['lower'\] stand there twice"),
        ("network,lower,upper,radius\nnets/a.npz,0,1,3\n", r"line 2, domains, entry 1: \['radius'\] mean nothing"),
        ("network,lower,upper,colour\n", r"line 1: unknown \['colour'\]"),
        ("network,lower,upper\nnets/a.npz,0\n", "line 2: it has not as many cells"),
        ("network,lower,upper\nnets/a.npz,0,1\nnets/a.npz,2,1\n", "line 3, domains, entry 1: the box is empty"),
        ("network,lower,upper,seed\nnets/a.npz,0,1,[\n", "line 2: cannot read the cell"),
        ("network,lower,upper\n,0,1\n", "line 2, networks, entry 1: a path or pattern is a text"),
    ],
)
def test_a_mistake_in_csv_is_said_with_its_line(folder: Path, text: str, message: str) -> None:
    """Whatever is wrong, one error names the file, the line and what to do."""
    with pytest.raises(SettingsError, match=message):
        read(folder, text, "jobs.csv")


def test_a_shape_may_be_one_number(folder: Path) -> None:
    """In YAML, CSV and Python, n means (n,), as for `milpcomp.load`."""
    yaml = read(folder, "{networks: {path: nets/a.npz, input_shape: 2}, domains: [0, 1]}")
    csv = read(folder, "network,input_shape,lower,upper\nnets/a.npz,2,0,1\n", "jobs.csv")
    python = Job(folder / "nets" / "a.npz", Box(0, 1), input_shape=2)
    assert [job.input_shape for job in (*yaml, *csv, python)] == [(2,)] * 3
    assert python.identity == Job(folder / "nets" / "a.npz", Box(0, 1), input_shape=(2,)).identity


def test_keys_of_a_mapping_may_be_merged(folder: Path) -> None:
    """A key that a merged mapping holds too does not stand twice."""
    jobs = read(folder, "networks: nets/a.npz\ndomains:\n  - &a {lower: 0, upper: 1}\n  - {<<: *a, upper: 2}\n")
    assert [job.domain_name for job in jobs] == ["[0, 1]", "[0, 2]"]


def test_networks_of_one_name_are_told_apart(folder: Path) -> None:
    """Where two files share a stem or a name, as much of their paths as it takes is shown; the path is as written."""
    for name, source in (("n1/net.npz", "a"), ("n2/net.npz", "b"), ("n2/net.pt", "b")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / "nets" / f"{source}.npz").read_bytes())
    one = "{path: n1/net.npz, name: x}, {path: n2/net.npz, name: x}"
    absolute = str(folder / "n1" / "net.npz")
    found = {
        text: [(job.network_name, job.path) for job in read(folder, f"{{networks: [{text}], domains: [0, 1]}}")]
        for text in ("n*/net.npz", "n2/*", "{path: n*/*.npz, name: my}", one, absolute)
    }
    assert found["n*/net.npz"] == [("n1/net", "n1/net.npz"), ("n2/net", "n2/net.npz")]
    assert found["n2/*"] == [("net.npz", "n2/net.npz"), ("net.pt", "n2/net.pt")]
    assert [name for name, _ in found["{path: n*/*.npz, name: my}"]] == ["my n1/net", "my n2/net", "my a", "my b"]
    assert [name for name, _ in found[one]] == ["x n1/net", "x n2/net"]
    assert found[absolute] == [("net", absolute)]


def test_settings_are_named_by_what_varies_or_was_written(folder: Path) -> None:
    """A default is shown where other jobs differ from it, or where it was written; given names stay as they are."""
    product = "networks: nets/a.npz, domains: [0, 1]"

    def names(settings: str) -> list[str]:
        return [job.settings_name for job in read(folder, f"{{{product}, settings: {settings}}}")]

    assert names("[{seed: 0}, {seed: 1}]") == ["seed=0", "seed=1"]
    assert names("{seed: 0}") == ["seed=0"]
    assert names("[{}, {time_limit_s: 5}]") == ["time_limit_s=none", "time_limit_s=5.0"]
    assert names("[{}, {seed: 1, name: mine}]") == ["", "mine"]
    rows = read(folder, "network,lower,upper,seed\nnets/a.npz,0,1,\nnets/a.npz,0,1,1\n", "jobs.csv")
    assert [job.settings_name for job in rows] == ["seed=0", "seed=1"]


def test_files_of_jobs_that_cannot_be_read_are_named(folder: Path) -> None:
    """Another suffix and a missing file are errors that name the file."""
    with pytest.raises(SettingsError, match=r"jobs\.txt.*\.yaml, \.yml, \.csv"):
        read_jobs(folder / "jobs.txt")
    with pytest.raises(SettingsError, match=r"cannot read .*jobs\.yml: No such file"):
        read_jobs(folder / "jobs.yml")


def test_what_a_job_is_depends_on_content_alone(folder: Path) -> None:
    """The digest stays with another path, name, limit of memory or a default spelled out, and changes with content."""
    (folder / "copy.npz").write_bytes((folder / "nets" / "a.npz").read_bytes())
    box = Box(0.0, 1.0)
    first = Job(folder / "nets" / "a.npz", box, "certify")
    same = Job(folder / "copy.npz", Box(0, 1), "certify", {"seed": 0}, memory_limit_mb=900, network_name="x")
    assert first.identity == same.identity
    others = [
        Job(folder / "nets" / "b.npz", box, "certify"),
        Job(folder / "nets" / "a.npz", Box(0.0, 2.0), "certify"),
        Job(folder / "nets" / "a.npz", box, "certify", {"seed": 1}),
        Job(folder / "nets" / "a.npz", box, "analyze"),
        Job(folder / "nets" / "a.npz", box, "certify", input_shape=(2,)),
        Job(folder / "nets" / "a.npz", box, "certify", {"data": folder / "x.npy"}),
        mc.Job(diamond(), box, "certify"),
    ]
    digests = {job.identity.digest for job in (first, *others)}
    assert len(digests) == len(others) + 1
    assert mc.Job(diamond(), box, "certify").identity == others[-1].identity


def test_samples_and_architectures_count_by_content(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other numbers in the same .npy file, and other code in the same module, are another job."""
    monkeypatch.chdir(folder)
    net, box = folder / "nets" / "a.npz", Box(0.0, 1.0)
    code = folder / "architecture_of_a_job.py"
    before = []
    for i in range(2):
        np.save(folder / "x.npy", np.full((i + 1, 2), 0.5))
        code.write_text(f"# version {i}{' ' * i}\n")
        with_data = Job(net, box, settings={"data": folder / "x.npy"})
        with_code = Job(net, box, architecture="architecture_of_a_job:make")
        before.append((with_data.identity.settings, with_code.identity.network))
    assert before[0][0] != before[1][0]
    assert before[0][1] != before[1][1]
    with pytest.raises(SettingsError, match="no module nowhere_to_be_found"):
        _ = Job(net, box, architecture="nowhere_to_be_found:make").identity


def test_external_data_of_onnx_counts(folder: Path) -> None:
    """An ONNX file whose numbers lie in another file is another network when those change."""
    onnx = pytest.importorskip("onnx")
    mc.load(folder / "nets" / "a.npz").to_onnx(str(folder / "a.onnx"))
    model = onnx.load(folder / "a.onnx")
    onnx.save(model, folder / "b.onnx", save_as_external_data=True, location="numbers", size_threshold=0)
    job = Job(folder / "b.onnx", Box(0.0, 1.0))
    before = job.identity.network
    content = bytearray((folder / "numbers").read_bytes())
    content[0] ^= 1
    (folder / "numbers").write_bytes(bytes(content) + b"\0")
    assert job.now().network != before
    assert job.identity.network == before


def test_a_missing_network_is_an_error_when_the_job_is_identified(folder: Path) -> None:
    """A job about a file that is not there says so."""
    with pytest.raises(CheckpointError, match=r"cannot read .*gone\.npz: No such file"):
        _ = Job(folder / "gone.npz", Box(0.0, 1.0)).identity
