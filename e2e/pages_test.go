package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func readPages(t *testing.T) pages {
	t.Helper()
	all, err := loadPages()
	require.NoError(t, err)
	return all
}

func readPage(t *testing.T, name string) *page {
	t.Helper()
	p, err := loadPage(name)
	require.NoError(t, err)
	return p
}

func TestLinksLeadSomewhere(t *testing.T) {
	for _, p := range readPages(t) {
		name := p.name
		for _, link := range p.links {
			if strings.Contains(link, "://") {
				assert.Regexp(t, `^https://`, link, "a link of %s", name)
				continue
			}
			target, anchor, _ := strings.Cut(link, "#")
			path := name
			if target != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
			}
			_, err := os.Stat(filepath.Join("..", path))
			if assert.NoError(t, err, "%s links to %s", name, link) && anchor != "" {
				assert.Contains(t, readPage(t, path).sections, anchor, "%s links to %s", name, link)
			}
		}
	}
}

// Who pastes a block into a terminal would answer a question with the next command.
func TestOnlyTheLastCommandOfABlockAsks(t *testing.T) {
	asks := regexp.MustCompile(`\bpulumi (new|up|destroy|refresh|import|stack rm|config set --secret \S+$)`)
	asking := 0
	for _, p := range readPages(t) {
		for _, block := range p.code {
			if block.language != "sh" {
				continue
			}
			commands := strings.Split(strings.TrimSpace(strings.ReplaceAll(block.text, "\\\n", " ")), "\n")
			for i, command := range commands {
				if !asks.MatchString(command) || strings.Contains(command, " --yes") {
					continue
				}
				asking++
				assert.Equal(t, len(commands)-1, i, "%s#%s: %s asks, and is followed by another command", p.name, block.section, command)
			}
		}
	}
	require.Greater(t, asking, 10, "the commands that ask are not found any more")
}

// A reader who comes by a link must see whether this is the page to read.
func TestEachPageBeginsWithWhatItIsFor(t *testing.T) {
	begins := regexp.MustCompile(`\A# .+\n\n[A-Z][a-z]* `)
	for _, p := range readPages(t) {
		source, err := os.ReadFile(filepath.Join("..", p.name))
		require.NoError(t, err)
		assert.True(t, begins.Match(source), "%s begins with no sentence on what it is for", p.name)
	}
}

func TestTheListAtTheTopOfAPageIsComplete(t *testing.T) {
	for _, page := range []string{"GUIDE.md", "IAM.md", "OPERATING.md", "RESOURCES.md", "USERS.md"} {
		source, err := os.ReadFile("../docs/" + page)
		require.NoError(t, err)
		var listed, headings []string
		for _, link := range regexp.MustCompile(`(?m)^- \[(.+)\]\(#.+\)$`).FindAllStringSubmatch(string(source), -1) {
			listed = append(listed, link[1])
		}
		for _, heading := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(string(source), -1) {
			headings = append(headings, heading[1])
		}
		assert.Equal(t, headings, listed, "the list at the top of %s, in the order of its sections", page)
	}
}

// The first page is for somebody who has ten minutes and a terminal of the usual width.
func TestTheFirstPageIsShortAndLeadsToAllOthers(t *testing.T) {
	source, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(string(source), "\n"), "\n")
	assert.LessOrEqual(t, len(lines), 350)
	for i, line := range lines {
		assert.LessOrEqual(t, utf8.RuneCountInString(line), 80, "line %d of README.md", i+1)
	}
	first := readPage(t, "README.md")
	for _, p := range readPages(t)[1:] {
		assert.Contains(t, first.links, p.name)
	}
	// What bash, zsh and PowerShell understand alike; of rm the page has both forms.
	plain := regexp.MustCompile(`^(make|mkdir|cd|pulumi|aws|rm -r) [^$|&;\\\x60"]+$`)
	for _, block := range first.code {
		if block.language != "sh" {
			continue
		}
		for command := range strings.Lines(block.text) {
			assert.Regexp(t, plain, strings.TrimSpace(command), "README.md#%s: a command that not every shell understands", block.section)
		}
	}
	assert.Contains(t, string(source), "(PowerShell: `rm -r e2e, .ci, Makefile`)")
}

// pulumi new copies whatever lies in the repository: the first page tells of each file whose it is, and nothing else comes along.
func TestTheFirstPageTellsWhoseEachFileIs(t *testing.T) {
	tracked, err := exec.CommandContext(t.Context(), "git", "-C", "..", "ls-files", "-z").Output()
	require.NoError(t, err)
	there := map[string]bool{}
	for name := range strings.SplitSeq(strings.Trim(string(tracked), "\x00"), "\x00") {
		if _, err := os.Stat(filepath.Join("..", name)); err == nil {
			first, _, _ := strings.Cut(name, "/")
			there[first] = true
		}
	}
	var told []string
	for _, row := range readPage(t, "README.md").table("whose-files-these-are", 0) {
		for name := range strings.SplitSeq(row[0], ", ") {
			told = append(told, strings.TrimSuffix(strings.Trim(name, "`"), "/"))
		}
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(there)), told)
}

// setting is a row of the program's own table.
type setting struct {
	preset, need string
	secret       bool
}

// settingsOfTheProgram reads the table in infra/settings.go.
func settingsOfTheProgram(t *testing.T) map[string]setting {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../infra/settings.go", nil, 0)
	require.NoError(t, err)
	found := map[string]setting{}
	ast.Inspect(file, func(node ast.Node) bool {
		value, ok := node.(*ast.ValueSpec)
		if !ok || value.Names[0].Name != "settings" || len(value.Values) != 1 {
			return true
		}
		for _, row := range value.Values[0].(*ast.CompositeLit).Elts {
			var name string
			var s setting
			for _, element := range row.(*ast.CompositeLit).Elts {
				field := element.(*ast.KeyValueExpr)
				switch field.Key.(*ast.Ident).Name {
				case "name":
					name = literal(t, field.Value)
				case "preset":
					s.preset = literal(t, field.Value)
				case "need":
					s.need = field.Value.(*ast.Ident).Name
				case "secret":
					s.secret = field.Value.(*ast.Ident).Name == "true"
				}
			}
			found[name] = s
		}
		return false
	})
	require.Greater(t, len(found), 10, "the table of settings is not found any more")
	return found
}

func literal(t *testing.T, expression ast.Expr) string {
	t.Helper()
	text, err := strconv.Unquote(expression.(*ast.BasicLit).Value)
	require.NoError(t, err)
	return text
}

func TestTheReadmeTellsOfEachSettingAsTheProgramHasIt(t *testing.T) {
	readme := readPage(t, "README.md")
	told := map[string][]string{}
	for _, row := range readme.table("settings", 0) {
		told[strings.Trim(row[0], "`")] = row
	}
	for name, setting := range settingsOfTheProgram(t) {
		row := told[name]
		delete(told, name)
		if !assert.NotNil(t, row, "the README tells nothing of %s", name) {
			continue
		}
		switch {
		case setting.preset != "":
			assert.Equal(t, "`"+setting.preset+"`", row[1], "the default of %s", name)
		case setting.need == "required":
			assert.Equal(t, "required", row[1], "the default of %s", name)
		case setting.need == "fromRDS":
			assert.Equal(t, "from RDS", row[1], "the default of %s", name)
		default:
			assert.NotContains(t, row[1], "`", "%s has no default in the program", name)
		}
		assert.Equal(t, setting.secret, strings.Contains(row[2], "`--secret`"), "whether %s is a secret", name)
		assert.NotEmpty(t, row[2], "when to use %s", name)
	}
	assert.Empty(t, told, "the README tells of settings that the program does not have")
}

func TestThePageOfResourcesTellsOfEachOutput(t *testing.T) {
	var told, exported []string
	for _, row := range readPage(t, "docs/RESOURCES.md").table("outputs", 0) {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[0], -1) {
			told = append(told, name[1])
		}
	}
	for _, file := range append(sources(t, "infra"), sources(t, "main.go")...) {
		ast.Inspect(file, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok {
				if method, ok := call.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "Export" {
					exported = append(exported, literal(t, call.Args[0]))
				}
			}
			return true
		})
	}
	assert.ElementsMatch(t, exported, told)
}

// texts are the literal texts in an expression, cut at what a format fills in.
func texts(expression ast.Node) []string {
	var found []string
	verbs := regexp.MustCompile(`%(\[\d+\])?[-+#.0-9]*[a-zA-Z%]`)
	ast.Inspect(expression, func(node ast.Node) bool {
		if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				found = append(found, verbs.Split(text, -1)...)
			}
		}
		return true
	})
	return found
}

func sources(t *testing.T, folders ...string) []*ast.File {
	t.Helper()
	var files []*ast.File
	for _, folder := range folders {
		require.NoError(t, filepath.WalkDir(filepath.Join("..", folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			files = append(files, file)
			return err
		}))
	}
	return files
}

// unfixed are the connector's failures that do not say what to do, each as its literal texts.
func unfixed(t *testing.T) [][]string {
	t.Helper()
	var found [][]string
	reasons := 0
	check := func(reason ast.Node, hasFix bool) {
		words := texts(reason)
		if !slices.ContainsFunc(words, func(text string) bool { return len(text) > 10 }) {
			return // a name for what is said elsewhere
		}
		reasons++
		if !hasFix {
			found = append(found, words)
		}
	}
	for _, file := range sources(t, "lambda") {
		followed := map[ast.Node]bool{} // calls whose result gets its fix at once: refuse("…").fix("…")
		ast.Inspect(file, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.FuncDecl:
				return node.Name.Name != "Settle" // of whose failures a rotation passes on nothing
			case *ast.CompositeLit:
				var reason ast.Node
				hasFix := false
				for _, element := range node.Elts {
					field, ok := element.(*ast.KeyValueExpr)
					if !ok {
						continue
					}
					switch name, _ := field.Key.(*ast.Ident); {
					case name == nil:
					case strings.EqualFold(name.Name, "why"):
						reason = field.Value
					case strings.EqualFold(name.Name, "fix"):
						hasFix = true
					}
				}
				if _, literal := reason.(*ast.BasicLit); literal {
					check(reason, hasFix)
				}
			case *ast.CallExpr:
				name := ""
				switch called := node.Fun.(type) {
				case *ast.Ident:
					name = called.Name
				case *ast.SelectorExpr:
					name = called.Sel.Name
					if name == "fix" {
						followed[called.X] = true
					}
				}
				switch {
				case strings.EqualFold(name, "fail") && len(node.Args) > 1:
					fix, literal := node.Args[1].(*ast.BasicLit)
					check(node.Args[0], !literal || fix.Value != `""`)
				case name == "refuse" && len(node.Args) > 0:
					check(node.Args[0], followed[node])
				}
			}
			return true
		})
	}
	require.Greater(t, reasons, 50, "the connector's failures are not found any more")
	return found
}

// A message says what to do. Where one cannot, the page does.
func TestEachMessageSaysWhatToDoOrIsExplained(t *testing.T) {
	var told []string
	for _, phrase := range readPage(t, "docs/TROUBLESHOOTING.md").phrases {
		if strings.HasPrefix(phrase.section, "messages-of-") {
			told = append(told, phrase.text)
		}
	}
	holds := func(texts []string, phrase string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, phrase) })
	}
	for _, reason := range unfixed(t) {
		assert.True(t, slices.ContainsFunc(told, func(phrase string) bool { return holds(reason, phrase) }),
			"%q does not say what to do, and docs/TROUBLESHOOTING.md does not explain it", strings.Join(reason, "…"))
	}
	var all []string
	for _, file := range sources(t, "lambda", "infra", "environments") {
		all = append(all, texts(file)...)
	}
	for _, phrase := range told {
		assert.True(t, holds(all, phrase), "docs/TROUBLESHOOTING.md explains %q, which nothing says", phrase)
	}
}

// words are those that a story may use: the keys of the tables of commands.
func words(t *testing.T) []string {
	t.Helper()
	var found []string
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(node ast.Node) bool {
			table, ok := node.(*ast.CompositeLit)
			if !ok {
				return true
			}
			of, ok := table.Type.(*ast.MapType)
			if !ok {
				return true
			}
			if value, ok := of.Value.(*ast.Ident); !ok || value.Name != "command" {
				return true
			}
			for _, row := range table.Elts {
				found = append(found, literal(t, row.(*ast.KeyValueExpr).Key))
			}
			return false
		})
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func TestThePackageCommentListsEachWordOfTheStoriesAndEachRoom(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	require.NoError(t, err)
	rooms, list, found := strings.Cut(file.Doc.Text(), "# Words")
	require.True(t, found)
	var listed []string
	for _, item := range regexp.MustCompile(`(?m)^  - [^:]+:((?:[^-]|\w-)*)$`).FindAllStringSubmatch(list, -1) {
		listed = append(listed, strings.FieldsFunc(item[1], func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })...)
	}
	known := words(t)
	for _, word := range known {
		assert.True(t, slices.Contains(listed, word), "the word %s stands in no line of doc.go", word)
	}
	for _, word := range listed {
		assert.True(t, slices.Contains(known, word), "doc.go lists the word %s, which no table has", word)
	}

	for _, parent := range []string{"", "cmd/"} {
		entries, err := os.ReadDir("./" + parent)
		require.NoError(t, err)
		for _, entry := range entries {
			if name := parent + entry.Name(); entry.IsDir() && name != "cmd" {
				assert.Regexp(t, `(^|[ /])`+regexp.QuoteMeta(name)+`([:,/]|$)`, rooms, "a room without a line in doc.go")
			}
		}
	}
}
