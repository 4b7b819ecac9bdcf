// Azure's own Node listener as the agent of a cluster: it accepts relayed connections and carries
// their bytes to kube-aad-proxy, as the agent in a cluster does.
//
//   LISTENER_URL     the hybrid connection, wss://host:port/$hc/path
//   LISTENER_TOKEN   a token that allows listening there
//   LISTENER_TARGET  host:port of kube-aad-proxy

import dns from "node:dns";
import { createRequire } from "node:module";
import net from "node:net";

const hyco = createRequire(import.meta.url)("hyco-ws");

// Names under localhost are this machine (RFC 6761), which not every resolver knows.
const lookup = dns.lookup;
dns.lookup = (name, ...rest) => lookup(name.endsWith(".localhost") ? "localhost" : name, ...rest);

const { LISTENER_URL, LISTENER_TOKEN, LISTENER_TARGET } = process.env;
const [host, port] = LISTENER_TARGET.split(":");

// The package's own way to build this address knows no port but 443.
const address = `${LISTENER_URL}?sb-hc-action=listen`;
let accepted = 0;

const server = hyco.createRelayedServer({ server: address, token: LISTENER_TOKEN }, (relayed) => {
  accepted += 1;
  console.log(`accepted ${accepted}`);
  bridge(relayed, net.connect({ host, port: Number(port), allowHalfOpen: true }));
});
server.on("listening", () => console.log("listening"));
server.on("error", (error) => {
  // The package dials again at once and for ever.
  console.error(`cannot listen: ${error.message ?? error}`);
  process.exit(1);
});
process.on("SIGTERM", () => process.exit(0));

function bridge(relayed, target) {
  target.pause();
  relayed.on("open", () => target.resume());
  target.on("data", (bytes) => {
    target.pause();
    relayed.send(bytes, { binary: true }, (error) => {
      if (error) {
        target.destroy();
      } else {
        target.resume();
      }
    });
  });
  relayed.on("message", (bytes) => {
    if (!target.write(bytes)) {
      relayed.pause();
    }
  });
  target.on("drain", () => relayed.resume());
  target.on("end", () => relayed.close(1000));
  target.on("error", () => relayed.close(1011));
  relayed.on("close", () => target.end());
  relayed.on("error", () => target.destroy());
}
