"""az signs in to the emulator as the demo app and asks for a cluster's relay credentials.

Runs inside `arc-emulator exec`, with az on the PATH.
"""

import base64
import json
import os
import subprocess
import tempfile
import time
import unittest

CLUSTER = (
    "/subscriptions/{AZURE_SUBSCRIPTION_ID}/resourceGroups/demo"
    "/providers/Microsoft.Kubernetes/connectedClusters/edge-demo"
).format_map(os.environ)
API_VERSION = "2024-01-01"


class AzureCli(unittest.TestCase):
    """One signed-in az, in a configuration folder of its own."""

    @classmethod
    def setUpClass(cls):
        with open(os.environ["ARCPROXY_CLOUD"], encoding="utf-8") as file:
            cls.cloud = json.load(file)
        folder = tempfile.TemporaryDirectory(prefix="arcproxy-interop-")
        cls.addClassCleanup(folder.cleanup)
        cls.environment = {
            **os.environ,
            "AZURE_CONFIG_DIR": folder.name,
            "AZURE_CORE_COLLECT_TELEMETRY": "false",
            # Otherwise az asks the public cloud whether this authority is to be trusted.
            "AZURE_CORE_INSTANCE_DISCOVERY": "false",
            "AZURE_CORE_ONLY_SHOW_ERRORS": "true",
            "REQUESTS_CA_BUNDLE": cls.cloud["caFile"],
        }
        cls.az(
            # It reads all else from Resource Manager's metadata.
            "cloud", "register", "--name", "emulator",
            "--endpoint-resource-manager", cls.cloud["resourceManager"],
        )
        cls.az("cloud", "set", "--name", "emulator")
        # First, for a token once had is taken from az's cache, whatever the secret.
        cls.refused = cls.login("wrong")
        done = cls.login(os.environ["AZURE_CLIENT_SECRET"])
        if done.returncode != 0:
            raise AssertionError(f"az login failed: {done.stderr}")
        cls.subscriptions = json.loads(done.stdout)

    @classmethod
    def login(cls, secret):
        return cls.run_az(
            "login", "--service-principal",
            "--username", os.environ["AZURE_CLIENT_ID"],
            "--password", secret,
            "--tenant", os.environ["AZURE_TENANT_ID"],
        )

    @classmethod
    def az(cls, *arguments):
        """Runs az, which must succeed, and reads its answer."""
        done = cls.run_az(*arguments)
        if done.returncode != 0:
            raise AssertionError(f"az {arguments[0]} failed: {done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    @classmethod
    def run_az(cls, *arguments):
        command = ["az", *arguments, "--output", "json"]
        return subprocess.run(
            command, env=cls.environment, capture_output=True, text=True, timeout=120, check=False
        )

    def rest(self, method, path, body=None):
        arguments = ["rest", "--method", method, "--url", f"{path}?api-version={API_VERSION}"]
        if body is not None:
            arguments += ["--body", json.dumps(body)]
        return self.run_az(*arguments)

    def test_the_subscription_is_found(self):
        ids = [subscription["id"] for subscription in self.subscriptions]
        self.assertIn(os.environ["AZURE_SUBSCRIPTION_ID"], ids)

    def test_the_cluster_is_connected(self):
        done = self.rest("get", CLUSTER)
        self.assertEqual(done.returncode, 0, done.stderr)
        cluster = json.loads(done.stdout)
        self.assertEqual(cluster["id"].lower(), CLUSTER.lower())
        self.assertEqual(cluster["properties"]["connectivityStatus"], "Connected")

    def test_relay_credentials_are_complete(self):
        body = {"authenticationMethod": "AAD", "clientProxy": True}
        done = self.rest("post", f"{CLUSTER}/listClusterUserCredential", body)
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        relay = answer["hybridConnectionConfig"]
        self.assertRegex(
            relay["hybridConnectionName"],
            r"^microsoft\.kubernetes/connectedclusters/[0-9a-f]{64}/[0-9]{19}$",
        )
        self.assertRegex(relay["token"], r"^SharedAccessSignature sr=\S+&sig=\S+&se=\d+&skn=\S+$")
        self.assertGreater(relay["expirationTime"], time.time())
        self.assertTrue(relay["relay"])
        kubeconfig = base64.b64decode(answer["kubeconfigs"][0]["value"])
        if not kubeconfig.lstrip().startswith((b"apiVersion", b"{", b"clusters")):
            # The service has been seen to encode it twice.
            kubeconfig = base64.b64decode(kubeconfig)
        self.assertIn(b"certificate-authority-data", kubeconfig)

    def test_a_wrong_secret_is_refused_in_entras_words(self):
        self.assertNotEqual(self.refused.returncode, 0)
        self.assertIn("AADSTS7000215", self.refused.stderr)

    def test_arcproxy_uses_the_signed_in_az(self):
        environment = {
            name: value
            for name, value in self.environment.items()
            if name not in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        }
        token = os.environ["ARC_EMULATOR_SA_TOKEN"]
        done = subprocess.run(
            [
                os.environ["ARCPROXY"], "-n", "edge-demo", "-g", "demo", "--token", token,
                "--", "kubectl", "get", "pods", "-A", "-o", "name",
            ],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^pod/\S+$")

    def test_a_cluster_that_is_not_there_is_an_error(self):
        done = self.rest("get", CLUSTER + "-not")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("NotFound", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
