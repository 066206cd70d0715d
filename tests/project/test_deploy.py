"""The ready files are whole: shells read them, and JobSet's says what JAX's detection asks Kubernetes for."""

import inspect
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from jax._src.clusters.k8s_cluster import K8sCluster

from lwm_registry.cli.train import train


DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPTS = ("slurm.sbatch", "mpirun.sh", "tpu-pod.sh", "try_slurm.sh")


def parts():
    found = list(yaml.safe_load_all((DEPLOY / "jobset.yaml").read_text("utf-8")))
    return {part["kind"]: part for part in found}


def pods():
    (group,) = parts()["JobSet"]["spec"]["replicatedJobs"]
    return group["template"]["spec"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_shell_reads_it_and_it_can_be_run(name):
    assert subprocess.run(["bash", "-n", DEPLOY / name], check=False).returncode == 0
    assert name == "slurm.sbatch" or os.access(DEPLOY / name, os.X_OK)


@pytest.mark.parametrize("name", SCRIPTS[:3])
def test_without_arguments_it_says_how_it_is_used(name):
    done = subprocess.run(["bash", DEPLOY / name], capture_output=True, text=True)
    assert done.returncode == 2 and "usage:" in done.stderr


def test_every_option_that_is_used_is_one_of_the_command():
    said = "".join(file.read_text("utf-8") for file in DEPLOY.iterdir())
    ours = {f"--{name.replace('_', '-')}" for name in inspect.signature(train).parameters}
    used = set(re.findall(r"lwm (?:train|resume)[^\n`]*?(--[a-z-]+)", said)) | {"--distributed"}
    assert used <= ours, used - ours


def test_every_pod_is_one_process_of_an_indexed_job():
    job = pods()
    assert job["completionMode"] == "Indexed"
    assert job["parallelism"] == job["completions"], "JAX takes the number of processes from parallelism"
    assert job["backoffLimit"] == 0 and job["template"]["spec"]["restartPolicy"] == "Never"
    assert parts()["JobSet"]["spec"]["network"]["enableDNSHostnames"]


def test_pods_may_ask_what_the_detection_asks():
    account = pods()["template"]["spec"]["serviceAccountName"]
    assert account == parts()["ServiceAccount"]["metadata"]["name"]
    binding = parts()["RoleBinding"]
    assert [subject["name"] for subject in binding["subjects"]] == [account]
    assert binding["roleRef"]["name"] == parts()["Role"]["metadata"]["name"]
    allowed = {(what, verb) for r in parts()["Role"]["rules"] for what in r["resources"] for verb in r["verbs"]}
    asked = set(re.findall(r"_api\.(list|read)_namespaced_(\w+)", inspect.getsource(K8sCluster)))
    verbs = {"list": "list", "read": "get"}
    assert asked, "the detection no longer asks so: look at it again"
    assert {(f"{what}s", verbs[verb]) for verb, what in asked} <= allowed


def test_the_first_pod_is_found_by_the_name_that_jobset_gives_it():
    jobset = parts()["JobSet"]
    source = inspect.getsource(K8sCluster.get_coordinator_address)
    assert "jobset.sigs.k8s.io/jobset-name" in source
    group = jobset["spec"]["replicatedJobs"][0]["name"]
    name = jobset["metadata"]["name"]
    assert f"{name}-{group}-0-0.{name}" in (DEPLOY / "jobset.yaml").read_text("utf-8")


def test_what_pods_run_is_read_by_a_shell():
    (container,) = pods()["template"]["spec"]["containers"]
    (script,) = container["args"]
    assert container["command"] == ["bash", "-c"]
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0
    assert {variable["name"] for variable in container["env"]} == set(re.findall(r"\$([A-Z]+)", script))


def test_a_tpu_pod_is_sent_words_that_survive_two_shells(tmp_path):
    words = ["curriculum.stages.0.mesh=[1, -1, 1, 4]", "sources.a.paths=['x y.txt']"]
    command = ["bash", DEPLOY / "tpu-pod.sh", "pod", "zone-a", "tiny-text", str(tmp_path / "a run"), *words]
    shown = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LWM_SHOW": "1"}, check=True)
    gcloud = shlex.split(shown.stdout)
    assert gcloud[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod"]
    assert "--worker=all" in gcloud
    (remote,) = [word.removeprefix("--command=") for word in gcloud if word.startswith("--command=")]
    said = subprocess.run(
        ["bash", "-c", f'lwm() {{ printf "%s\\n" "$@"; }}; {remote}'], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == ["train", "tiny-text", "--out", str(tmp_path / "a run"), *words, "--distributed"]
