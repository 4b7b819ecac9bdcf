"""The script that az's Python runs, with modules in place of az's that do what a test wants."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(HERE, "..", "..", "..", "src", "azure", "login", "az_bound.py")
PROFILE = """
class Token:
    token, expires_on = "secret", 4102444800.0

class Credential:
    def get_token(self, scope, data):
        assert scope == "scope", scope
        assert data == {{"token_type": "pop", "key_id": "kid", "req_cnf": "cnf"}}, data
        {body}
        return Token()

class Profile:
    def get_login_credentials(self, subscription_id):
        assert subscription_id == "sub", subscription_id
        return Credential(), "sub", "tenant"
"""


class Script(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="arcproxy-interop-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def modules(self, below, body="pass"):
        """Modules in place of az's, in the folder `below` the test's own; gives that folder."""
        root = os.path.join(self.folder, below)
        core = os.path.join(root, "azure", "cli", "core")
        os.makedirs(os.path.join(core, "auth"))
        for part in ("azure", "azure/cli", "azure/cli/core", "azure/cli/core/auth"):
            open(os.path.join(root, part, "__init__.py"), "w", encoding="utf-8").close()
        with open(os.path.join(core, "_profile.py"), "w", encoding="utf-8") as file:
            file.write(PROFILE.format(body=body))
        return root

    def run_script(self, path="", interactive=False):
        with open(SCRIPT, encoding="utf-8") as file:
            script = file.read()
        asked = {
            "az": os.path.join(self.folder, "bin", "az"), "subscription": "sub",
            "scope": "scope", "kid": "kid", "req_cnf": "cnf", "interactive": interactive,
        }
        # Without what is installed: az may be.
        command = [sys.executable, "-S", "-c", script, json.dumps(asked)]
        done = subprocess.run(
            command, env={"PYTHONPATH": path}, cwd=self.folder, capture_output=True, text=True,
            timeout=60, check=True,
        )
        return json.loads(done.stdout.splitlines()[-1]), done

    def test_the_token_is_the_answer(self):
        path = self.modules("lib")
        answer, _ = self.run_script(path)
        self.assertEqual(answer, {"access_token": "secret", "expires_on": 4102444800})

    def test_modules_are_found_beside_az_as_its_rpm_package_has_them(self):
        version = "python%d.%d" % sys.version_info[:2]
        for libraries in ("lib64", "lib"):
            with self.subTest(libraries):
                self.setUp()
                self.modules(os.path.join(libraries, "az", "lib", version, "site-packages"))
                answer, _ = self.run_script()
                self.assertEqual(answer["access_token"], "secret")

    def test_without_modules_that_is_told(self):
        # Those of the folder that it is called in are not az's.
        self.modules("")
        answer, _ = self.run_script()
        self.assertEqual(answer["kind"], "import")
        self.assertIn("azure", answer["error"])

    def test_what_az_prints_is_no_answer(self):
        path = self.modules("lib", 'print("hello")')
        answer, done = self.run_script(path)
        self.assertEqual(answer["access_token"], "secret")
        self.assertIn("hello", done.stderr)
        self.assertNotIn("hello", done.stdout)

    def test_what_az_refuses_is_told_with_its_advice(self):
        body = 'error = ValueError("no"); error.recommendations = ["az login"]; raise error'
        answer, _ = self.run_script(self.modules("lib", body))
        self.assertEqual(answer, {"error": "no", "kind": "refused", "advice": "az login"})

    def test_an_az_that_ends_the_program_is_answered_for(self):
        answer, _ = self.run_script(self.modules("lib", 'raise SystemExit("over")'))
        self.assertEqual((answer["error"], answer["kind"]), ("over", "refused"))

    def test_a_browser_is_opened_only_where_somebody_sees_it(self):
        body = (
            "from azure.cli.core.auth.msal_credentials import UserCredential\n"
            "        try:\n"
            '            raise ValueError("step up")\n'
            "        except ValueError:\n"
            "            UserCredential()._acquire_token_interactive([scope], data=data)"
        )
        path = self.modules("lib", body)
        credentials = os.path.join(path, "azure", "cli", "core", "auth", "msal_credentials.py")
        with open(credentials, "w", encoding="utf-8") as file:
            file.write(
                "class UserCredential:\n"
                "    def _acquire_token_interactive(self, scopes, **kwargs):\n"
                "        pass\n"
            )
        answer, _ = self.run_script(path, interactive=True)
        self.assertEqual(answer["access_token"], "secret")
        answer, _ = self.run_script(path)
        self.assertEqual((answer["error"], answer["kind"]), ("step up", "refused"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
