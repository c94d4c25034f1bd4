"""Sites: files, what is wrong with them, the job scripts they lead to, the command that shows them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from portico.cli import cli
from portico.clusters import base
from portico.clusters.kubernetes import manifest, reasons
from portico.clusters.queues.base import BatchJob
from portico.clusters.queues.htcondor import HTCondor
from portico.clusters.site import RESERVED, Site, load_site, own_folder, sites
from portico.errors import ConfigError, MissingExtra, WorkerError
from portico.executors.where import connect, destinations, job_script

SHIPPED = ["cms-htcondor", "cms-slurm", "gateway", "htcondor", "kubernetes", "slurm", "ssh"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No settings but those of the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def write(name: str, text: str) -> Path:
    own_folder().mkdir(parents=True, exist_ok=True)
    path = own_folder() / f"{name}.yaml"
    path.write_text(text)
    return path


def call(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [str(argument) for argument in ("site", *arguments)])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sites_are_valid(name: str) -> None:
    site = load_site(name)
    assert site.name == name
    assert site.kind == name.removeprefix("cms-")
    assert name in destinations()


def test_own_sites_come_first_and_are_listed() -> None:
    assert list(sites()) == SHIPPED
    path = write("slurm", "kind: slurm\nmemory: 3 GB\n")
    write("farm", "kind: htcondor\n")
    assert sites()["slurm"] == path
    assert load_site("slurm").memory == "3 GB"
    assert load_site("farm").kind == "htcondor"
    assert load_site(str(path)) == load_site("slurm")
    assert list(sites()) == sorted([*SHIPPED, "farm"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: slrum", r"farm\.yaml: key 'kind': unknown value 'slrum'; did you mean 'slurm'\?"),
        ("cores: 2", r"farm\.yaml: key 'kind' is missing"),
        ("kind: slurm\nmemroy: 2 GB", r"unknown key 'memroy'; did you mean 'memory'\?"),
        ("kind: slurm\nmemory: two", r"key 'memory': write a size with its unit.*'2 GB'"),
        ("kind: slurm\nwalltime: 4 h", r"key 'walltime'"),
        ("kind: slurm\ncores: 0", r"key 'cores'"),
        ("kind: slurm\nworkers: 2\nminimum: 3", r"minimum is 3, but workers is only 2"),
        ("kind: kubernetes", r"key 'image' is missing"),
        ("kind: ssh", r"'options\.hosts' is missing: write for example"),
        ("kind: slurm\nname: other", r"key 'name' is 'other', but a site has the name of its file"),
        ("kind: slurm\nextra: [a]", r"key 'extra'"),
        ("- a", r"expected a mapping"),
    ],
)
def test_wrong_files_are_explained(text: str, words: str) -> None:
    write("farm", text)
    with pytest.raises(ConfigError, match=words):
        load_site("farm")


def test_names_that_are_no_site() -> None:
    with pytest.raises(ConfigError, match=r"on 'slrum'; did you mean 'slurm'\? valid: .*htcondor.*local.*tcp"):
        connect("slrum", None)
    with pytest.raises(ConfigError, match=r"no site 'nothing' in .*; valid: cms-htcondor"):
        load_site("nothing")
    with pytest.raises(ConfigError, match=r"nothing\.yaml: no such file"):
        connect("nothing.yaml", None)
    with pytest.raises(ConfigError, match="0 workers"):
        connect("local", 0)
    for word in RESERVED:
        write(word, "kind: slurm")
        with pytest.raises(ConfigError, match=f"a site cannot be named '{word}'"):
            load_site(word)


def test_yaml_numbers_are_taken() -> None:
    # YAML 1.1 would read 12:30:00 as a number of base 60.
    write("farm", "kind: slurm\nwalltime: 12:30:00\nextra: {nice: 100, exclusive: true}\nenvironment: {N: 4}")
    site = load_site("farm")
    assert site.walltime == "12:30:00"
    assert site.seconds == 12 * 3600 + 30 * 60
    assert site.extra == {"nice": "100", "exclusive": "True"}
    assert site.environment == {"N": "4"}


@pytest.mark.parametrize(
    ("walltime", "seconds", "stagger"),
    [
        ("04:00:00", 14400 - 300 - 150, 150),  # 5 minutes are left, and half of that in either direction
        ("00:10:00", 600 - 60 - 30, 30),  # a tenth
        ("00:01:00", 60 - 10 - 5, 5),
        ("00:00:10", 10 - 5 - 2, 2),
    ],
)
def test_workers_retire_before_the_walltime(walltime: str, seconds: int, stagger: int) -> None:
    site = Site(name="farm", kind="slurm", walltime=walltime)
    assert base.lifetime(site) == (seconds, stagger)
    assert seconds + stagger < site.seconds


def test_workers_come_in_whole_jobs() -> None:
    site = Site(name="farm", kind="slurm", cores=4, workers=10)
    assert [base.limit(site, n) for n in (None, 4, 7, 1)] == [8, 4, 4, 4]
    assert base.runner_memory(Site(name="farm", kind="slurm", cores=4, memory="8 GB")) == 2_000_000_000 - 200_000_000


def test_script_of_htcondor(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/opt/it's here")
    monkeypatch.setenv("BEARER_TOKEN", "secret")
    write("farm", "kind: htcondor\ncores: 4\nmemory: 8 GB\ndisk: 10 GB\nwalltime: '02:00:00'\npython: /opt/python\n"
          "interface: eth1\nenvironment: {X509_CERT_DIR: /certificates}\n"
          "extra: {accounting_group: cms, +Flavour: '\"x\"'}")  # fmt: skip
    text = job_script("farm")
    assert text is not None
    for line in (
        "MY.DaskWorkerCores = 4", "MY.DaskWorkerMemory = 8000000000", "MY.DaskWorkerDisk = 10000000000",
        "allowed_job_duration = 7200", "accounting_group = cms", '+Flavour = "x"', "should_transfer_files = YES",
        "Error = $(LogDirectory)/worker-$F(MY.JobId).err", f"LogDirectory = {home}/state/portico/farm",
    ):  # fmt: skip
        assert line in text.splitlines()
    command = next(line for line in text.splitlines() if line.startswith("Arguments"))
    assert "/opt/python -P -m distributed.cli.dask_worker tls://SCHEDULER:PORT" in command
    for words in (
        "--nthreads 1", "--nworkers 4", "--lifetime 6750s", "--lifetime-stagger 150s", "--death-timeout 120",
        "--interface eth1", "--protocol tls://", "--tls-key key.pem", "--local-directory $_CONDOR_SCRATCH_DIR",
    ):  # fmt: skip
        assert words in command
    # The description is open to the whole pool: no more of the environment than programs need.
    assert "secret" not in text
    assert "getenv" not in text
    environment = next(line for line in text.splitlines() if line.startswith("environment"))
    assert "X509_CERT_DIR=/certificates" in environment
    assert "PATH='/usr/bin:/opt/it''s here'" in environment.replace("'PATH=", "PATH='")


def test_script_of_htcondor_with_an_image() -> None:
    text = job_script("cms-htcondor")
    assert text is not None
    assert "universe = container" in text
    assert "container_image = /cvmfs/unpacked.cern.ch/" in text
    assert "-c 'python3 -P -m distributed.cli.dask_worker" in text
    assert "PATH=" not in text  # that of this machine means nothing in the image


def test_htcondor_does_not_copy_an_image_that_is_a_folder_to_every_job(tmp_path: Path) -> None:
    for image, copied in ((tmp_path, False), (tmp_path / "portico.sif", True)):
        write("farm", f"kind: htcondor\nimage: {image}")
        dask = job_script("farm")
        assert dask is not None
        job = BatchJob("portico", ("true",), 1, tmp_path)
        for text in (dask, HTCondor(load_site("farm")).script(job)):
            assert f"container_image = {image}\n" in text
            assert ("transfer_container" in text) is not copied
            assert copied or "transfer_container = False\n" in text


def test_extra_lines_replace_ours() -> None:
    write("farm", "kind: htcondor\nextra: {Environment: '\"A=1\"', should_transfer_files: IF_NEEDED}")
    text = job_script("farm")
    assert text is not None
    assert len(re.findall("^environment", text, re.MULTILINE | re.IGNORECASE)) == 1
    assert "should_transfer_files = IF_NEEDED" in text


def test_script_of_slurm(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    write("farm", "kind: slurm\ncores: 2\nmemory: 4 GB\nwalltime: '01:00:00'\nscratch: /local/$SLURM_JOB_ID\n"
          "environment: {NOTE: it's mine}\nextra: {partition: short, exclusive: ''}\nimage: /images/portico.sif\n"
          "folder: $HOME/jobs")  # fmt: skip
    text = job_script("farm")
    assert text is not None
    folder = home / "jobs"
    for line in (
        "#SBATCH -J portico", "#SBATCH --cpus-per-task=2", "#SBATCH --mem=3815M", "#SBATCH -t 01:00:00",
        "#SBATCH --partition=short", "#SBATCH --exclusive", f"#SBATCH --chdir={folder}",
        f"#SBATCH -e {folder}/portico-%J.err", "export NOTE='it'\"'\"'s mine'", 'export TMPDIR="/local/$SLURM_JOB_ID"',
    ):  # fmt: skip
        assert line in text.splitlines()
    command = text.splitlines()[-1]
    assert command.startswith(f"apptainer exec --bind {folder} /images/portico.sif python3 -P -m distributed.cli")
    for words in ("--nworkers 2", "--nthreads 1", "--lifetime 3150s", "--local-directory /local/$SLURM_JOB_ID"):
        assert words in command


def test_scripts_of_the_others() -> None:
    assert job_script("local") is None
    assert job_script("tcp://127.0.0.1:8786") is None
    ssh = job_script("ssh")
    assert ssh is not None
    assert ssh.count("# on node") == 4
    gateway = job_script("gateway")
    assert gateway is not None
    assert "https://gateway.example.org" in gateway


def test_options_that_the_library_does_not_know() -> None:
    write("farm", "kind: slurm\noptions: {queeu: short}")
    with pytest.raises(ConfigError, match=r"site 'farm': dask-jobqueue refuses the settings: .*'queeu'$|'queeu'; the"):
        job_script("farm")


def test_missing_libraries_and_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(WorkerError, match="no program 'sbatch' on PATH"):
        connect("slurm", None)
    with pytest.raises(WorkerError, match="no program 'condor_submit' on PATH"):
        connect("htcondor", None)
    monkeypatch.setattr(base.importlib.util, "find_spec", lambda name: None)
    for name in ("htcondor", "slurm", "kubernetes"):
        with pytest.raises(MissingExtra, match=rf"pip install 'portico-hep\[{name}\]'"):
            job_script(name)


def test_a_folder_that_cannot_be_made(home: Path) -> None:
    (home / "file").write_text("")
    write("farm", f"kind: slurm\nfolder: {home}/file/jobs")
    with pytest.raises(WorkerError, match=r"cannot make the folder for job logs: .*; set 'folder' to another one"):
        job_script("farm")


def test_manifest_of_kubernetes() -> None:
    site = Site(name="k8s", kind="kubernetes", image="registry/portico:1", cores=2, memory="4 GB", disk="10 GB",
                environment={"A": "1"}, minimum=3)  # fmt: skip
    found = manifest(site, "portico-k8s")
    assert yaml.safe_load(base.print_script(site)) == found
    assert found["kind"] == "DaskCluster"
    worker = found["spec"]["worker"]
    assert worker["replicas"] == 2  # pods of two workers each
    pod = worker["spec"]
    container = pod["containers"][0]
    assert container["image"] == "registry/portico:1"
    for kind in ("requests", "limits"):
        assert container["resources"][kind] == {"cpu": "2", "memory": "3815Mi", "ephemeral-storage": "9537Mi"}
    assert {"name": "A", "value": "1"} in container["env"]
    args = container["args"]
    assert args[args.index("--nworkers") + 1] == "2"
    assert args[args.index("--nthreads") + 1] == "1"
    assert args[args.index("--memory-limit") + 1] == "2000000000"
    for spec in (pod, found["spec"]["scheduler"]["spec"]):
        assert spec["automountServiceAccountToken"] is False
        assert spec["containers"][0]["securityContext"] == {"allowPrivilegeEscalation": False}


def test_reasons_of_kubernetes() -> None:
    unschedulable = {"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient cpu."},
    ]}  # fmt: skip
    image = {"phase": "Pending", "containerStatuses": [
        {"state": {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}},
    ]}  # fmt: skip
    running = {"phase": "Running", "conditions": [{"type": "PodScheduled", "status": "True"}]}
    assert reasons([{"status": s} for s in (unschedulable, unschedulable, image, running)]) == [
        "Kubernetes: 2 pods are not running: 0/3 nodes: Insufficient cpu.",
        'Kubernetes: 1 pod is not running: ImagePullBackOff: Back-off pulling image "x"',
    ]


def test_command_lists_and_shows() -> None:
    write("broken", "kind: what")
    result = call()
    assert result.exit_code == 0
    assert re.search(r"htcondor +htcondor +an example of portico", result.stdout)
    assert "broken.yaml" in result.stderr
    found = json.loads(call("--json").stdout)
    assert {row["name"]: row["kind"] for row in found["sites"]}["cms-slurm"] == "slurm"
    assert found["folder"] == str(own_folder())

    write("farm", "kind: slurm\nmemory: 3 GB")
    shown = call("farm").stdout
    assert re.search(r"memory +3 GB +farm\.yaml", shown)
    assert re.search(r"walltime +04:00:00 +default", shown)
    content = json.loads(call("farm", "--json").stdout)
    assert content["settings"]["memory"] == "3 GB"
    assert content["set"] == ["kind", "memory"]
    assert "#SBATCH --mem=2862M" in call("farm", "--script").stdout
    assert "#SBATCH" in json.loads(call("farm", "--script", "--json").stdout)["script"]
    assert call("famr").exit_code == 2
    assert call("--script").exit_code == 2


def test_command_copies_an_example(home: Path) -> None:
    target = own_folder() / "mine.yaml"
    result = call("htcondor", "--write", target)
    assert result.exit_code == 0
    assert "portico site mine --script" in result.stdout
    assert load_site("mine").kind == "htcondor"
    assert "is there already" in call("htcondor", "--write", target).stderr
    assert f"portico site {home}/x.yaml" in call("slurm", "--write", home / "x.yaml").stdout


@pytest.mark.parametrize("name", SHIPPED)
def test_examples_say_how_to_use_them(name: str) -> None:
    """What is commented out in an example is valid as well."""
    text = sites()[name].read_text()
    assert f"portico site {name} --write" in text
    open_lines = [re.sub(r"^# (?=  \w+:|[a-z_]+:)", "", line) for line in text.splitlines()]
    settings = yaml.safe_load("\n".join(line for line in open_lines if not line.startswith("#")))
    for key, value in settings.items():
        assert key in Site.model_fields, key
        assert value is not None, key


def test_ctrl_c_stays_an_interrupt_beside_dask_jobqueue() -> None:
    code = (
        "import signal; from portico.clusters.base import import_jobqueue\n"
        "before = signal.getsignal(signal.SIGINT); import_jobqueue('slurm')\n"
        "assert signal.getsignal(signal.SIGINT) is before is signal.default_int_handler"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
