"""The manifests of deploy/kubernetes are what Kubernetes' own schema says, and fit the image."""

import itertools
from typing import Any

import kubernetes_validate
import pytest
import yaml

from appointments.server.settings import Settings
from tests.service import ROOT

FOLDER = ROOT / "deploy/kubernetes"
MANIFESTS = [
    manifest
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for manifest in yaml.safe_load_all(path.read_text())
]


def pod_of(kind: str) -> dict[str, Any]:
    """The pod's specification."""
    found: dict[str, Any] = next(each for each in MANIFESTS if each["kind"] == kind)["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_a_manifest_keeps_the_schema(manifest: dict[str, Any], version: str) -> None:
    """Of an old and of the newest Kubernetes, without a field that it does not know."""
    kubernetes_validate.validate(manifest, version, strict=True)


def test_every_manifest_is_applied() -> None:
    """The kustomization lists each file."""
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"} == set(listed)


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_pods_are_restricted(kind: str) -> None:
    """As Kubernetes' restricted standard for pods asks, and as the image can."""
    pod = pod_of(kind)
    assert (True, 10001) == (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"])
    for container in pod["containers"]:
        context = container["securityContext"]
        assert (False, True, ["ALL"]) == (
            context["allowPrivilegeEscalation"],
            context["readOnlyRootFilesystem"],
            context["capabilities"]["drop"],
        )


def test_settings_are_settings_and_the_drain_fits() -> None:
    """Every variable is one that the service knows, and a pod may take as long to stop as it needs."""
    pod = pod_of("Deployment")
    variables = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    assert set(variables) <= {name.upper() for name in Settings.model_fields}
    needed = float(variables["LAME_DUCK_SECONDS"]) + 2 * float(variables["DRAIN_SECONDS"])
    assert needed < pod["terminationGracePeriodSeconds"]


def test_the_job_does_not_get_calls() -> None:
    """No service, budget or policy selects its pod."""
    job = next(each for each in MANIFESTS if each["kind"] == "Job")["spec"]["template"]["metadata"]["labels"]
    selectors = [each["spec"]["selector"] for each in MANIFESTS if each["kind"] == "Service"]
    for selector, (name, value) in itertools.product(selectors, job.items()):
        assert selector.get(name) != value
