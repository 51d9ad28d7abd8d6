// The work is done at the end of the job, by post.js.
