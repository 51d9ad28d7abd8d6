package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Odd ways to say something, each of which has to be read twice: a clause for a
// subject, and an actor that has no name.
var odd = []struct {
	pattern *regexp.Regexp
	advice  string
}{
	{regexp.MustCompile(`^(What|Who|Whoever|Whatever|Nobody|Of|That|One|Where)\b[^?]*$`), "begin with the subject"},
	{regexp.MustCompile(`\b([Ww]hoever|[Nn]obody|[Ss]omebody)\b`), "name the actor"},
	{regexp.MustCompile(`\b(there )?(is|are|was|were) no (longer\b)?((more|less) than\b)?`), `say "not a"`},
}

// TestEnglish finds them in the comments of Go files and in Markdown.
func TestEnglish(t *testing.T) {
	for _, file := range append(sources(t), documents(t)...) {
		for _, s := range sentences(t, file) {
			if why := oddity(s.text); why != "" {
				t.Errorf("%s:%d: %s: %s", file, s.line, why, s.text)
			}
		}
	}
}

// TestEnglishIsFound shows that TestEnglish sees what it is to see.
func TestEnglishIsFound(t *testing.T) {
	const comments = `package p

// A reader sees this. What is wrong
// is told. Is it? What for?
//
//	What is code stays.
//
// Nobody reads it: it is no use.
var x = 1 // One of two.

// It is no longer there. The list is no more than a name.
`
	const text = "# What a title is\n\nWhere it\nends, whoever asks. Of `nobody`\n\n```\nOf code.\n```\n\n- That is one.\n- a | Who?\n\n| Each cell | of a table is no end |\n"
	var got []string
	for _, s := range append(commentSentences(t, "p.go", comments), textSentences(text)...) {
		if why := oddity(s.text); why != "" {
			got = append(got, fmt.Sprintf("%d %s", s.line, s.text))
		}
	}
	want := []string{"3 What is wrong is told.", "8 Nobody reads it: it is no use.", "9 One of two.",
		"3 Where it ends, whoever asks.", "4 Of", "10 That is one.", "13 of a table is no end"}
	if !slices.Equal(got, want) {
		t.Errorf("found %q\nwant  %q", got, want)
	}
}

// oddity returns what is wrong with a sentence, "" if nothing is.
func oddity(sentence string) string {
	for _, o := range odd {
		for _, found := range o.pattern.FindAllString(sentence, -1) {
			if !strings.HasSuffix(found, "longer") && !strings.HasSuffix(found, " than") && !strings.HasPrefix(found, "there ") {
				return o.advice
			}
		}
	}
	return ""
}

type sentence struct {
	line int // the one it begins in
	text string
}

func sentences(t *testing.T, file string) []sentence {
	t.Helper()
	if strings.HasSuffix(file, ".go") {
		return commentSentences(t, file, nil)
	}
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	return textSentences(string(text))
}

// documents lists the Markdown files of this module.
func documents(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() != ".." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(name, ".md") {
			rel, err := filepath.Rel(root, name)
			files = append(files, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func commentSentences(t *testing.T, file string, source any) (found []sentence) {
	t.Helper()
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, filepath.Join(root, filepath.FromSlash(file)), source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range parsed.Comments {
		found = append(found, split(set.Position(group.Pos()).Line, commentLines(group))...)
	}
	return found
}

// commentLines returns the lines of a comment, with code and directives empty.
func commentLines(group *ast.CommentGroup) (lines []string) {
	for _, comment := range group.List {
		for line := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(comment.Text, "/*"), "*/"), "\n") {
			prose, isComment := strings.CutPrefix(line, "// ")
			if !isComment && strings.HasPrefix(line, "//") || strings.HasPrefix(prose, " ") && strings.HasPrefix(strings.TrimSpace(prose), "\t") {
				prose = ""
			}
			lines = append(lines, prose)
		}
	}
	return lines
}

var (
	listItem = regexp.MustCompile(`^\s*([-*]|\d+\.) `)
	inTicks  = regexp.MustCompile("`[^`]*`")
	markup   = regexp.MustCompile(`\*\*|^#+ .*`)
)

func textSentences(text string) []sentence {
	var lines []string
	fenced := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			line = ""
		}
		if fenced {
			line = ""
		}
		lines = append(lines, markup.ReplaceAllString(line, ""))
	}
	return split(1, lines)
}

var sentenceEnd = regexp.MustCompile(`[.!?]\)?"?\s+`)

// split returns the sentences of paragraphs, list items and the cells of tables,
// and the lines they begin in.
func split(first int, lines []string) (found []sentence) {
	var text strings.Builder
	start := first
	flush := func() {
		rest, line := text.String(), start
		text.Reset()
		for rest != "" {
			end := len(rest)
			if at := sentenceEnd.FindStringIndex(rest); at != nil {
				end = at[1]
			}
			if clean := strings.Join(strings.Fields(inTicks.ReplaceAllString(rest[:end], "")), " "); clean != "" {
				found = append(found, sentence{line, clean})
			}
			line += strings.Count(rest[:end], "\n")
			rest = rest[end:]
		}
	}
	for i, line := range lines {
		if strings.HasPrefix(line, "|") {
			flush()
			for cell := range strings.SplitSeq(line, "|") {
				start = first + i
				text.WriteString(strings.TrimSpace(cell))
				flush()
			}
			continue
		}
		item := listItem.FindString(line)
		if item != "" || strings.TrimSpace(line) == "" {
			flush()
		}
		if line = strings.TrimSpace(line[len(item):]); line == "" {
			continue
		}
		if text.Len() == 0 {
			start = first + i
		}
		text.WriteString(line + "\n")
	}
	flush()
	return found
}
