// Headless Chromium, driven by its DevTools protocol over a pipe.

import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class Chromium {
  static async start() {
    const profile = await mkdtemp(join(tmpdir(), "arcproxy-chromium-"));
    const child = spawn(
      process.env.CHROMIUM ?? "chromium",
      [
        "--headless=new",
        "--remote-debugging-pipe",
        "--no-first-run",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        // The emulator's authority is of this run only.
        "--ignore-certificate-errors",
        // As root, in a container, there is no sandbox to be had.
        ...(process.getuid() === 0 ? ["--no-sandbox"] : []),
        `--user-data-dir=${profile}`,
      ],
      { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
    );
    const browser = new Chromium(child, profile);
    const { targetId } = await browser.send("Target.createTarget", { url: "about:blank" });
    const attached = await browser.send("Target.attachToTarget", { targetId, flatten: true });
    browser.session = attached.sessionId;
    for (const domain of ["Page", "Log", "Runtime"]) {
      await browser.send(`${domain}.enable`);
    }
    const size = { width: 900, height: 700, deviceScaleFactor: 1, mobile: false };
    await browser.send("Emulation.setDeviceMetricsOverride", size);
    return browser;
  }

  constructor(child, profile) {
    Object.assign(this, { child, profile, last: 0, waiting: new Map(), loads: [], complaints: [] });
    let text = "";
    child.stdio[4].setEncoding("utf8").on("data", (more) => {
      const messages = (text + more).split("\0");
      text = messages.pop();
      messages.forEach((message) => this.receive(JSON.parse(message)));
    });
    child.on("exit", () => {
      this.waiting.forEach(({ reject }) => reject(new Error("Chromium has ended")));
    });
  }

  receive({ id, result, error, method, params }) {
    if (id !== undefined) {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      error ? reject(new Error(error.message)) : resolve(result);
    } else if (method === "Page.loadEventFired") {
      this.loads.shift()?.();
    } else if (method === "Log.entryAdded" && params.entry.level === "error") {
      this.complaints.push(params.entry.text);
    }
  }

  send(method, params = {}) {
    const id = ++this.last;
    const message = { id, method, params, sessionId: this.session };
    this.child.stdio[3].write(`${JSON.stringify(message)}\0`);
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  // Does what leads to another page, and waits until that is there.
  async leads(action) {
    const loaded = new Promise((resolve) => this.loads.push(resolve));
    await action();
    await loaded;
  }

  go(url) {
    return this.leads(() => this.send("Page.navigate", { url }));
  }

  // The value of an expression on the page.
  async value(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      returnByValue: true,
    });
    if (exceptionDetails) {
      throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
    }
    return result.value;
  }

  click(selector) {
    return this.leads(() => this.value(`document.querySelector(${JSON.stringify(selector)}).click()`));
  }

  async screenshot(name) {
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    await writeFile(join(process.env.ARCPROXY_SCREENSHOTS, `${name}.png`), data, "base64");
  }

  // Light or dark, as the person likes it.
  scheme(value) {
    const features = [{ name: "prefers-color-scheme", value }];
    return this.send("Emulation.setEmulatedMedia", { features });
  }

  async close() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill();
    await ended;
    await rm(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
