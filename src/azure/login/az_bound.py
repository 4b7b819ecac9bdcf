"""Asks az's own credential for an access token that is bound to a key.

Run by az's interpreter, with one argument: a JSON object that says what is asked for. The answer
is a JSON object on the last line of stdout.
"""

import sys

# The folder that this is called in is no place to load modules from.
sys.path[:] = [folder for folder in sys.path if folder]

import json
import os

# Whatever else is printed goes to stderr.
answers, sys.stdout = sys.stdout, sys.stderr


def profile(az):
    """Loads az's modules: from where the interpreter has them, or from beside az itself."""
    try:
        from azure.cli.core._profile import Profile
    except ImportError:
        # The RPM package keeps them apart from the system's interpreter, which runs them.
        prefix = os.path.dirname(os.path.dirname(os.path.abspath(az)))
        version = "python%d.%d" % sys.version_info[:2]
        for libraries in ("lib64", "lib"):
            sys.path.append(os.path.join(prefix, libraries, "az", "lib", version, "site-packages"))
        from azure.cli.core._profile import Profile
    return Profile()


def never_ask():
    """Keeps az from opening a browser where nobody sits: what Entra asks for is the error then."""

    def refuse(*_, **__):
        raise  # The one that az would have answered with the browser.

    from importlib import import_module

    for module in ("msal_credentials", "msal_authentication"):
        try:
            credential = import_module("azure.cli.core.auth." + module).UserCredential
        except (ImportError, AttributeError):
            continue
        credential._acquire_token_interactive = refuse


def answer(asked):
    try:
        account = profile(asked["az"])
    except ImportError as error:
        return {"error": str(error), "kind": "import"}
    try:
        if not asked["interactive"]:
            never_ask()
        credential = account.get_login_credentials(subscription_id=asked["subscription"])[0]
        data = {"token_type": "pop", "key_id": asked["kid"], "req_cnf": asked["req_cnf"]}
        token = credential.get_token(asked["scope"], data=data)
        return {"access_token": token.token, "expires_on": int(token.expires_on)}
    except (Exception, SystemExit) as error:
        advice = getattr(error, "recommendations", None) or []
        return {"error": str(error), "kind": "refused", "advice": "\n".join(map(str, advice))}


print("\n" + json.dumps(answer(json.loads(sys.argv[1]))), file=answers, flush=True)
