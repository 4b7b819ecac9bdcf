"""az signs in to the emulator, as the demo app and as people; arcproxy goes through with it.

Runs inside `arc-emulator exec`, with az on the PATH.
"""

import base64
import json
import os
import pty
import re
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

CLUSTER = (
    "/subscriptions/{AZURE_SUBSCRIPTION_ID}/resourceGroups/demo"
    "/providers/Microsoft.Kubernetes/connectedClusters/edge-demo"
).format_map(os.environ)
API_VERSION = "2024-01-01"


SERVER_APP = "6256c85f-0aad-4d50-b960-e6e9b21efe35"
WHOAMI = ["kubectl", "auth", "whoami", "-o", "json"]


class Az:
    """An az in a configuration folder of its own, that works in the emulator's cloud."""

    @classmethod
    def set_up_az(cls):
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

    @classmethod
    def arcproxy(cls, *arguments, folder=None, **more):
        """Runs arcproxy with nothing but az to sign in with."""
        environment = {
            name: value
            for name, value in {**cls.environment, **more}.items()
            if name not in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
            and value is not None
        }
        command = [os.environ["ARCPROXY"], "-n", "edge-demo", "-g", "demo", *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False,
            cwd=folder,
        )

    def username(self, done):
        """Whom the cluster takes the caller for."""
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["status"]["userInfo"]["username"]

    def assert_no_secrets(self, done):
        for text in (done.stdout, done.stderr):
            self.assertNotRegex(text, r"eyJ[A-Za-z0-9_-]{20,}\.|SharedAccessSignature")


class Application(Az, unittest.TestCase):
    """az is signed in as an application."""

    @classmethod
    def setUpClass(cls):
        cls.set_up_az()
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

    def test_a_cluster_that_is_not_there_is_an_error(self):
        done = self.rest("get", CLUSTER + "-not")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("NotFound", done.stderr)

    def test_arcproxy_goes_through_as_the_application(self):
        done = self.arcproxy("--", "kubectl", "get", "pods", "-A", "-o", "name")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^pod/\S+$")
        client_id = os.environ["AZURE_CLIENT_ID"]
        self.assertIn(f"Signed in as service principal {client_id} (az)", done.stderr)

    def test_arcproxy_prints_no_token(self):
        done = self.arcproxy("--debug", "--auth", "azure-cli", "--", *WHOAMI, ARCPROXY_LOG="trace")
        self.username(done)
        self.assertIn("TRACE", done.stderr)
        self.assert_no_secrets(done)

    def test_a_service_account_needs_no_bound_token(self):
        token = os.environ["ARC_EMULATOR_SA_TOKEN"]
        done = self.arcproxy("--auth", "azure-cli", "--", *WHOAMI, ARCPROXY_TOKEN=token)
        self.assertTrue(self.username(done).startswith("system:serviceaccount:demo:"))

    def test_the_cloud_is_the_one_that_az_works_in(self):
        # No cloud file: az's settings tell where Resource Manager is, and that tells the rest.
        done = self.arcproxy(
            "--", *WHOAMI, ARCPROXY_CLOUD=None, ARCPROXY_CA_FILE=self.cloud["caFile"]
        )
        self.username(done)

    def test_the_subscription_is_azs_default_one(self):
        self.az("account", "set", "--subscription", os.environ["AZURE_SUBSCRIPTION_ID"])
        self.username(self.arcproxy("--", *WHOAMI, AZURE_SUBSCRIPTION_ID=None))

    def test_modules_of_the_callers_folder_are_left_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "json.py"), "w", encoding="utf-8") as file:
                file.write("raise SystemExit('loaded from the wrong folder')")
            done = self.arcproxy("--", *WHOAMI, folder=folder)
        self.username(done)


class Person(Az, unittest.TestCase):
    """az is signed in as somebody, who typed a code on another device."""

    @classmethod
    def setUpClass(cls):
        cls.set_up_az()

    def sign_in(self, upn):
        self.run_az("logout")
        command = ["az", "login", "--use-device-code", "--output", "json"]
        az = subprocess.Popen(
            command, env={**self.environment, "AZURE_CORE_LOGIN_EXPERIENCE_V2": "false"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        self.addCleanup(az.kill)
        said = ""
        while True:
            line = az.stderr.readline()
            self.assertTrue(line, said)
            said += line
            asked = re.search(r"the page (\S+) and enter the code (\S+)", said)
            if asked:
                break
        fields = urllib.parse.urlencode({"user_code": asked[2], "username": upn}).encode()
        trust = ssl.create_default_context(cafile=self.cloud["caFile"])
        urllib.request.urlopen(asked[1], data=fields, context=trust, timeout=60).close()
        _, errors = az.communicate(timeout=120)
        self.assertEqual(az.returncode, 0, said + errors)

    def test_the_cluster_knows_the_person(self):
        self.sign_in("ana@contoso.com")
        done = self.arcproxy("--", *WHOAMI)
        self.assertEqual(self.username(done), "ana@contoso.com")
        self.assertIn("Signed in as ana@contoso.com (az)", done.stderr)

    def test_a_second_factor_is_asked_for_where_nobody_sees_a_browser(self):
        self.sign_in("mara@contoso.com")
        done = self.arcproxy("--", *WHOAMI)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("AADSTS50076", done.stderr)
        self.assertRegex(done.stderr, r'hint: run `az login .*--scope "%s/\.default' % SERVER_APP)

    def test_a_second_factor_is_asked_for_in_the_browser(self):
        self.sign_in("mara@contoso.com")
        here = os.path.dirname(os.path.abspath(__file__))
        environment = {
            name: value
            for name, value in self.environment.items()
            if name not in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "CI")
        }
        environment |= {
            "BROWSER": os.path.join(here, "browser.py"), "DISPLAY": ":0",
            "BROWSER_USER": "mara@contoso.com", "BROWSER_CA": self.cloud["caFile"],
        }
        # At a terminal, as far as arcproxy can tell.
        terminal, inside = pty.openpty()
        self.addCleanup(os.close, terminal)
        command = [os.environ["ARCPROXY"], "-n", "edge-demo", "-g", "demo", "--", *WHOAMI]
        done = subprocess.run(
            command, env=environment, stdin=inside, stdout=subprocess.PIPE, stderr=inside,
            text=True, timeout=120, check=False,
        )
        os.close(inside)
        said = b""
        try:
            while part := os.read(terminal, 4096):
                said += part
        except OSError:
            pass  # How a terminal says that nobody writes to it any more.
        said = said.decode()
        self.assertEqual(done.returncode, 0, said)
        self.assertIn("az has opened a browser", said)
        self.assertIn("mara@contoso.com", done.stdout)

    def test_what_a_policy_forbids_is_told(self):
        self.sign_in("blake@contoso.com")
        done = self.arcproxy("--", *WHOAMI)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("AADSTS53003", done.stderr)
        self.assertIn("conditional access policy", done.stderr)


class Nobody(Az, unittest.TestCase):
    """az is not signed in."""

    @classmethod
    def setUpClass(cls):
        cls.set_up_az()

    def test_that_is_what_is_told(self):
        done = self.arcproxy("--auth", "azure-cli", "--", *WHOAMI)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("hint: run `az login`", done.stderr)
        done = self.arcproxy("--", *WHOAMI)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("azure-cli: nobody is signed in to az", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
