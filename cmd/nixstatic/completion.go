package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print what has a shell complete commands and flags",
		ArgsUsage: "bash | zsh | fish",
		Description: "make install puts it where shells look. By hand:\n\n" +
			"Examples:\n" +
			"   source <(nixstatic completion bash)\n" +
			"   nixstatic completion zsh > ~/.zfunc/_nixstatic\n" +
			"   nixstatic completion fish > ~/.config/fish/completions/nixstatic.fish",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("completion takes one argument, the shell: bash, zsh or fish")
			}
			var text string
			switch shell := c.Args().First(); shell {
			case "bash":
				text = bashCompletion(c.App)
			case "zsh":
				text = "#compdef nixstatic\nautoload -U +X bashcompinit && bashcompinit\n" + bashCompletion(c.App)
			case "fish":
				var err error
				if text, err = c.App.ToFishCompletion(); err != nil {
					return err
				}
			default:
				return usage("there is no completion for %q: choose bash, zsh or fish", shell)
			}
			_, err := fmt.Fprint(c.App.Writer, text)
			return err
		},
	}
}

// bashCompletion is a function for bash that knows all commands and flags. It leaves
// values and arguments to the shell, which completes files.
func bashCompletion(app *cli.App) string {
	var cases strings.Builder
	var walk func(path string, commands []*cli.Command)
	walk = func(path string, commands []*cli.Command) {
		for _, c := range visible(commands) {
			path := strings.TrimSpace(path + " " + c.Name)
			var words []string
			for _, sub := range visible(c.Subcommands) {
				words = append(words, sub.Name)
			}
			for _, f := range c.Flags {
				for _, name := range f.Names() {
					if len(name) > 1 {
						words = append(words, "--"+name)
					}
				}
			}
			fmt.Fprintf(&cases, "\t'%s') words='%s --help' ;;\n", path, strings.Join(words, " "))
			walk(path, c.Subcommands)
		}
	}
	walk("", app.Commands)
	var top []string
	for _, c := range visible(app.Commands) {
		top = append(top, c.Name)
	}
	fmt.Fprintf(&cases, "\t'') words='%s --help --version' ;;\n", strings.Join(top, " "))
	return `# Completion of nixstatic for bash, made by nixstatic completion.
_nixstatic() {
	local current=${COMP_WORDS[COMP_CWORD]} command='' next words i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in -*) continue ;; esac
		next="${command:+$command }${COMP_WORDS[i]}"
		_nixstatic_words "$next" && command=$next || break
	done
	_nixstatic_words "$command"
	COMPREPLY=($(compgen -W "$words" -- "$current"))
}
_nixstatic_words() {
	case $1 in
` + cases.String() + `	*) return 1 ;;
	esac
}
complete -o default -F _nixstatic nixstatic
`
}
