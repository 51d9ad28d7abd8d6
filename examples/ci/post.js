// Runs post.sh at the end of a job, with what main.js has left for it.
const { spawnSync } = require("node:child_process");
const path = require("node:path");

const env = { ...process.env, ...JSON.parse(process.env["STATE_post"] || "{}") };
const ended = spawnSync("bash", [path.join(__dirname, "post.sh")], { env, stdio: "inherit" });
process.exitCode = ended.status === null ? 1 : ended.status;
