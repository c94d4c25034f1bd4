"""Knowledge of a site: storage sites, machines that are avoided, queues by walltime."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from portico.analysis.analysis import Analysis, load_analysis
from portico.analysis.placed import placed
from portico.clusters.queues.base import BatchJob
from portico.clusters.queues.htcondor import HTCondor, placed_lines
from portico.clusters.queues.slurm import Slurm, placed_options
from portico.clusters.site import Site, load_site
from portico.errors import ConfigError, PorticoError
from portico.files.placement import Placement, place, site_of

REPLICAS = (
    "root://eos.cern.ch//f.root",
    "root://dcache.desy.de:1094//f.root",
    "/data/f.root",
    "https://mit.edu/f.root",
)
CERN, DESY, LOCAL, MIT = REPLICAS


def test_storage_sites_are_hosts() -> None:
    assert [site_of(replica) for replica in REPLICAS] == ["eos.cern.ch", "dcache.desy.de", "local", "mit.edu"]
    assert site_of("root://me:secret@EOS.cern.ch//f.root") == "eos.cern.ch"


@pytest.mark.parametrize(("rules", "expected"), [
    ({}, REPLICAS),
    ({"block": ["*.cern.ch"]}, (DESY, LOCAL, MIT)),
    ({"allow": ["local", "*.edu"]}, (LOCAL, MIT)),
    ({"allow": ["*.cern.ch", "*.desy.de"], "block": ["eos.*"]}, (DESY,)),
    ({"prefer": ["local", "*.desy.de"]}, (LOCAL, DESY, CERN, MIT)),
    ({"prefer": "*.DESY.de"}, (DESY, CERN, LOCAL, MIT)),
    ({"block": ["*"]}, ()),
])  # fmt: skip
def test_replicas_are_placed(rules: dict[str, object], expected: tuple[str, ...]) -> None:
    assert place(REPLICAS, [Placement(**rules)]) == expected  # type: ignore[arg-type]


def test_the_rules_of_the_site_count_first_and_all_must_admit() -> None:
    site, analysis = (
        Placement(prefer=("mit.edu",), block=("local",)),
        Placement(prefer=("*.desy.de",), block=("*.cern.ch",)),
    )
    assert place(REPLICAS, [site, analysis]) == (MIT, DESY)


@pytest.fixture
def analysis(tmp_path: Path) -> Path:
    (tmp_path / "analysis.yaml").write_text(
        "name: placed\nstorage: {block: ['*.cern.ch']}\n"
        "dataset: {samples: {a: {files: [['root://eos.cern.ch//f.root', 'root://mit.edu//f.root', "
        "'root://x.desy.de//f.root']]}}}\n"
        "steps: [{name: s, function: 'm:s'}]\n"
    )
    return tmp_path


def test_which_file_is_meant_stays_the_same(analysis: Path) -> None:
    sample = placed(load_analysis(analysis), Placement(prefer=("*.desy.de",))).dataset["a"]
    (file,) = sample.files
    assert file == "root://eos.cern.ch//f.root"  # names the file, also in keys
    assert sample.reads(file) == ("root://x.desy.de//f.root", "root://mit.edu//f.root")
    assert sample.replicas_of("root://mit.edu//f.root") == ("root://mit.edu//f.root", "root://x.desy.de//f.root")
    assert "root://eos.cern.ch//f.root" not in sample.replicas_of("root://x.desy.de//f.root")
    assert "placed" not in sample.model_dump()


def test_no_rules_change_nothing(make_bare: Analysis) -> None:
    assert placed(make_bare) is make_bare


@pytest.fixture
def make_bare(tmp_path: Path) -> Analysis:
    dataset = "{samples: {a: {files: ['root://mit.edu//f.root']}}}"
    (tmp_path / "analysis.yaml").write_text(f"name: bare\ndataset: {dataset}\nsteps: [{{name: s, function: 'm:s'}}]\n")
    return load_analysis(tmp_path)


def test_a_file_without_a_replica_is_an_error(make_bare: Analysis) -> None:
    words = "sample 'a': root://mit.edu//f.root: no replica may be read: .*blocked or not allowed: mit.edu; change"
    with pytest.raises(ConfigError, match=words):
        placed(make_bare, Placement(block=("mit.edu",)))


@pytest.mark.parametrize("wrong", ["root://eos.cern.ch/", "/eos", "eos.cern.ch:1094", ""])
def test_a_storage_site_is_no_url(tmp_path: Path, wrong: str) -> None:
    text = f"name: x\nstorage: {{block: ['{wrong}']}}\nsteps: [{{name: s, function: 'm:s', points: 'm:p'}}]\n"
    (tmp_path / "analysis.yaml").write_text(text)
    with pytest.raises(PorticoError, match=r"storage\.block.*is not a storage site; write the host"):
        load_analysis(tmp_path)


def job(site: Site, *avoid: str) -> str:
    made = HTCondor(site) if site.kind == "htcondor" else Slurm(site)
    return made.script(BatchJob("portico", ["run"], 2, Path("/jobs"), avoid=avoid))


def test_machines_are_kept_out_of_htcondor_for_good_and_failing_ones_for_a_while() -> None:
    site = Site(name="s", kind="htcondor", avoid=("node7.site.example",), extra={"Requirements": "HasFoo"})
    line = next(line for line in job(site, "bad").splitlines() if line.lower().startswith("requirements"))
    assert line == (
        'Requirements = (HasFoo) && !regexp("^node7([.]|$)", TARGET.Machine) && '
        '(!regexp("^bad([.]|$)", TARGET.Machine) || time() - MY.QDate > 300)'
    )
    assert placed_lines(Site(name="s", kind="htcondor")) == {}


def test_machines_are_kept_out_of_slurm() -> None:
    site = Site(name="s", kind="slurm", avoid=("node7",), extra={"exclude": "node1"})
    assert "#SBATCH --exclude=node1,node7,bad\n" in job(site, "bad")
    assert placed_options(Site(name="s", kind="slurm")) == {}


@pytest.mark.parametrize(("walltime", "queue"), [
    ("00:20:00", "short"), ("01:00:00", "short"), ("01:00:01", "middle"), ("23:00:00", "long"),
])  # fmt: skip
def test_the_queue_is_the_shortest_that_is_long_enough(walltime: str, queue: str) -> None:
    queues = {"long": "48:00:00", "short": 3600, "middle": "08:00:00"}
    slurm = Site(name="s", kind="slurm", walltime=walltime, queues=queues)  # type: ignore[arg-type]
    assert slurm.queue == queue
    assert f"#SBATCH --partition={queue}\n" in job(slurm)
    condor = Site(name="s", kind="htcondor", walltime=walltime, queues=queues)  # type: ignore[arg-type]
    assert f'+JobFlavour = "{queue}"\n' in job(condor)
    own = Site(name="s", kind="htcondor", walltime=walltime, queues=queues, queue_key="accounting_group")  # type: ignore[arg-type]
    assert f"accounting_group = {queue}\n" in job(own)
    mine = Site(name="s", kind="slurm", walltime=walltime, queues=queues, extra={"partition": "mine"})  # type: ignore[arg-type]
    assert "#SBATCH --partition=mine\n" in job(mine)


@pytest.mark.parametrize(("fields", "words"), [
    ({"queues": {"short": "01:00:00"}}, "no queue takes jobs of 04:00:00: the longest, 'short', has 01:00:00"),
    ({"queues": {"short": "1 hour"}}, "queues.short"),
    ({"avoid": ["node 7"]}, "avoid: 'node 7' is not a host name"),
    ({"avoid": ['x") || True || regexp("']}, "is not a host name"),
    ({"kind": "gateway", "avoid": ["node7"]}, "'queues' and 'queue_key' are for htcondor and slurm, not gateway"),
])  # fmt: skip
def test_wrong_keys_are_told(tmp_path: Path, fields: dict[str, object], words: str) -> None:
    (tmp_path / "farm.yaml").write_text(yaml.safe_dump({"kind": "slurm", **fields}))
    with pytest.raises(ConfigError, match=words):
        load_site(str(tmp_path / "farm.yaml"))
