package main

import (
	"strings"
	"unicode/utf8"
)

// wrapText indents a description and wraps its paragraphs. Lines that are indented
// already, such as examples, are broken only where they are too long.
func wrapText(text string) string {
	var b strings.Builder
	var paragraph []string
	flush := func() {
		for _, line := range wrap(strings.Join(paragraph, " "), helpWidth-len(descriptionIndent)) {
			b.WriteString(descriptionIndent + line + "\n")
		}
		paragraph = nil
	}
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		line = strings.TrimRight(line, " \n")
		if line == "" || strings.HasPrefix(line, " ") {
			flush()
			if line != "" {
				line = strings.Join(wrapExample(descriptionIndent+line), "\n")
			}
			b.WriteString(line + "\n")
			continue
		}
		paragraph = append(paragraph, line)
		if strings.HasSuffix(line, ":") {
			flush()
		}
	}
	flush()
	return b.String()
}

// wrapExample breaks a line that is indented: a command between its arguments, as a
// shell takes it, and a row of a table in its last column.
func wrapExample(line string) []string {
	if utf8.RuneCountInString(line) <= helpWidth {
		return []string{line}
	}
	if !isCommand.MatchString(line) {
		indent := lastGap.FindString(line)
		column := utf8.RuneCountInString(indent)
		if column == 0 || column > helpWidth/2 {
			indent = beginsIndent.FindString(line)
			column = len(indent)
		}
		lines := wrap(line[len(indent):], helpWidth-column)
		for i := range lines {
			lines[i] = indent + lines[i]
			indent = strings.Repeat(" ", column)
		}
		return lines
	}
	indent := beginsIndent.FindString(line)
	var lines []string
	current := indent
	for i, word := range withValues(shellWords(line)) {
		switch {
		case i == 0:
			current += word
		case utf8.RuneCountInString(current)+1+utf8.RuneCountInString(word)+2 <= helpWidth:
			current += " " + word
		default:
			lines = append(lines, current+" \\")
			current = indent + "   " + word
		}
	}
	return append(lines, current)
}

// withValues joins flags with what follows them, which reads as their value.
func withValues(words []string) []string {
	var units []string
	for i, word := range words {
		follows := i > 0 && (strings.HasPrefix(words[i-1], "-") || words[i-1] == ">") && words[i-1] != "-"
		fits := follows && utf8.RuneCountInString(units[len(units)-1]+word) < helpWidth-12
		if fits && !strings.HasPrefix(word, "-") && word != ">" && word != "|" {
			units[len(units)-1] += " " + word
			continue
		}
		units = append(units, word)
	}
	return units
}

// shellWords splits a command where a shell does, quotes and all.
func shellWords(line string) []string {
	var words []string
	var word strings.Builder
	quote := rune(0)
	for _, r := range strings.TrimSpace(line) {
		switch {
		case quote == 0 && r == ' ':
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
			continue
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case quote == r:
			quote = 0
		}
		word.WriteRune(r)
	}
	return append(words, word.String())
}

// wrap breaks a text into lines of at most so many characters, between words.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	var words []string
	for _, word := range strings.Fields(text) {
		for runes := []rune(word); len(runes) > width; runes = []rune(word) {
			at := width // or behind a comma
			if i := strings.LastIndexByte(string(runes[:width]), ','); i > 0 {
				at = utf8.RuneCountInString(word[:i+1])
			}
			words, word = append(words, string(runes[:at])), string(runes[at:])
		}
		words = append(words, word)
	}
	for _, word := range words {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
