// Somebody signs in with a real browser, and somebody else thinks better of it.
// Runs inside `arc-emulator exec`; ARCPROXY is the binary to test.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

import { Chromium } from "./chromium.mjs";

const OPEN = fileURLToPath(new URL("open", import.meta.url));
const TIME = { timeout: 120_000 };

// Starts arcproxy with a home of its own; gives the page that it opens, and how it ends.
async function signIn(t, command) {
  const home = await mkdtemp(join(tmpdir(), "arcproxy-home-"));
  t.after(() => rm(home, { recursive: true }));
  const pipe = join(home, "page");
  execFileSync("mkfifo", [pipe]);
  const { AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT_ID, ...environment } = process.env;
  const child = spawn(
    process.env.ARCPROXY,
    ["-n", "edge-demo", "-g", "demo", "--auth", "browser", "--port", "0", "--", ...command],
    {
      env: { ...environment, HOME: home, BROWSER: OPEN, ARCPROXY_PAGE_PIPE: pipe },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) {
    child[name].setEncoding("utf8").on("data", (text) => (output[name] += text));
  }
  const ended = new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, ...output }));
  });
  return { page: await readFile(pipe, "utf8"), ended };
}

async function start(t) {
  const browser = await Chromium.start();
  t.after(() => browser.close());
  return browser;
}

const TITLE = "document.querySelector('h1').innerText";
const TEXT = "document.body.innerText";

// The page is styled, fits, and nothing on it was refused.
async function looksRight(browser) {
  assert.equal(await browser.value("getComputedStyle(document.querySelector('main')).maxWidth"), "480px");
  assert.ok(await browser.value("document.documentElement.scrollWidth <= innerWidth"));
  assert.deepEqual(browser.complaints, []);
}

test("somebody signs in, and kubectl works", TIME, async (t) => {
  const browser = await start(t);
  const { page, ended } = await signIn(t, ["kubectl", "get", "pods", "-A", "-o", "name"]);
  await browser.go(page);
  assert.equal(await browser.value(TITLE), "Pick an account");
  await browser.screenshot("sign-in");

  await browser.click('button[value="ana@contoso.com"]');
  assert.equal(await browser.value(TITLE), "You are signed in");
  const text = await browser.value(TEXT);
  assert.match(text, /ana@contoso\.com/);
  assert.match(text, /close this tab/);
  assert.equal(await browser.value("location.hostname"), "localhost");
  await looksRight(browser);
  await browser.screenshot("success");
  await browser.scheme("dark");
  await browser.screenshot("success-dark");

  const { status, stdout, stderr } = await ended;
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^pod\/\S+$/m);
  assert.match(stderr, /Signed in as ana@contoso\.com \(browser\)/);
});

test("somebody cancels", TIME, async (t) => {
  const browser = await start(t);
  const { page, ended } = await signIn(t, ["true"]);
  await browser.go(page);
  await browser.click("button[name=decline]");
  assert.equal(await browser.value(TITLE), "The sign-in did not work");
  const text = await browser.value(TEXT);
  assert.match(text, /AADSTS65004/);
  assert.match(text, /close this tab/);
  await looksRight(browser);
  await browser.screenshot("failure");
  await browser.scheme("dark");
  await browser.screenshot("failure-dark");

  const { status, stderr } = await ended;
  assert.equal(status, 3, stderr);
  assert.match(stderr, /cancelled in the browser/);
});
