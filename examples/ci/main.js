// Runs main.sh at the beginning of a job. The inputs of the action get into its environment, and
// none is ever a word of a shell.
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const input = (name) => process.env[`INPUT_${name.toUpperCase()}`] || "";
const temp = process.env["RUNNER_TEMP"] || os.tmpdir();
fs.mkdirSync(temp, { recursive: true });
// Each use of the action in a job has a folder of its own, which no other user can have made before.
const dir = fs.mkdtempSync(path.join(temp, "nixstatic-"));

const post = {
  NIXSTATIC_DIR: dir,
  NIXSTATIC_URL: input("url"),
  NIXSTATIC_PUSH: input("push"),
  NIXSTATIC_PIN: input("pin"),
  NIXSTATIC_DRAIN_TIMEOUT: input("drain-timeout"),
};
const main = {
  ...post,
  NIXSTATIC_TOKEN: input("token"),
  NIXSTATIC_KEY: input("key"),
  NIXSTATIC_ROOT: input("root"),
  NIXSTATIC_EXCLUDE: input("exclude"),
};
// At the end of a job a runner may have forgotten the inputs of an action that is used by another.
if (process.env["GITHUB_STATE"]) {
  fs.appendFileSync(process.env["GITHUB_STATE"], `post=${JSON.stringify(post)}\n`);
}
const ended = spawnSync("bash", [path.join(__dirname, "main.sh")], { env: { ...process.env, ...main }, stdio: "inherit" });
if (ended.error) console.log(`::error::nixstatic: cannot run bash: ${ended.error.code}`);
process.exitCode = ended.status === null ? 1 : ended.status;
