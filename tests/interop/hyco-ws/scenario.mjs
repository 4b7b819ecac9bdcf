// With the built-in agent away and Azure's listener in its place, kubectl works through arcproxy.
// Runs inside `arc-emulator exec --fault-agent-away`; ARCPROXY is the binary to test.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import test from "node:test";
import { fileURLToPath } from "node:url";

const { ARC_EMULATOR_CONTROL, ARCPROXY, ARCPROXY_CLOUD } = process.env;
const CLUSTER = ["-n", "edge-demo", "-g", "demo"];

test("kubectl works through hyco-ws", { timeout: 120_000 }, async (t) => {
  const cloud = JSON.parse(await readFile(ARCPROXY_CLOUD, "utf8"));
  const { url, token, target } = await control("/listener");
  const listener = spawn(process.execPath, [fileURLToPath(new URL("listener.mjs", import.meta.url))], {
    env: {
      ...process.env,
      LISTENER_URL: url,
      LISTENER_TOKEN: token,
      LISTENER_TARGET: target,
      NODE_EXTRA_CA_CERTS: cloud.caFile,
      NODE_NO_WARNINGS: "1",
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => listener.kill());
  const lines = createInterface({ input: listener.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, "listening");

  const pods = await run(["kubectl", "get", "pods", "-A", "-o", "name"]);
  assert.equal(pods.status, 0, pods.stderr);
  assert.match(pods.stdout, /^pod\/\S+$/m);

  const word = `hello-${process.pid}`;
  const echo = await run(["sh", "-c", exec(word)]);
  assert.equal(echo.status, 0, echo.stderr);
  assert.match(echo.stdout, new RegExp(`^${word}$`, "m"));

  const seen = await control("/seen");
  assert.equal((await lines.next()).value, "accepted 1");
  assert.ok(seen.relay.tunnels_total > 0, "the relay carried the connections");
  assert.ok(seen.aad_proxies["edge-demo"].requests > 0, "kube-aad-proxy answered");
});

// An upgrade, which takes an HTTP/1.1 stream of its own.
function exec(word) {
  const pod = "kubectl get pods -A --no-headers | awk '$4 == \"Running\" { print \"-n\", $1, $2; exit }'";
  return `kubectl exec $(${pod}) -- echo ${word}`;
}

async function control(path) {
  const answer = await fetch(`${ARC_EMULATOR_CONTROL}${path}`);
  assert.equal(answer.status, 200, `control endpoint ${path}`);
  return answer.json();
}

// Runs `command` under arcproxy, to its end.
async function run(command) {
  const child = spawn(ARCPROXY, [...CLUSTER, "--", ...command], { stdio: ["ignore", "pipe", "pipe"] });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) {
    child[name].setEncoding("utf8").on("data", (text) => (output[name] += text));
  }
  const status = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  return { status, ...output };
}
