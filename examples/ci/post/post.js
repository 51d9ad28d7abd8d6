// Runs the script beside it with the inputs of the action in its environment.
const { spawnSync } = require("node:child_process");
const path = require("node:path");

const env = {
  ...process.env,
  NIXSTATIC_PIN: process.env["INPUT_PIN"] || "",
  NIXSTATIC_DRAIN_TIMEOUT: process.env["INPUT_DRAIN-TIMEOUT"] || "10m",
  NIXSTATIC_PUSH: process.env["INPUT_PUSH"] || "auto",
};
const ended = spawnSync("bash", [path.join(__dirname, "..", "post.sh")], { env, stdio: "inherit" });
process.exitCode = ended.status === null ? 1 : ended.status;
