package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	markdown "github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	tables "github.com/yuin/goldmark/extension/ast"
	markdownparser "github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// page is a page of documentation.
type page struct {
	name     string
	sections []string // anchors
	links    []string
	code     []block
	phrases  []phrase
	rows     map[string][][][]string // by section and table, without the header
}

// block is a block of code.
type block struct {
	section, language string
	number            int // among the section's of that language, from 1
	text              string
}

// phrase is a text in backquotes at the beginning of a list's item, before a colon.
type phrase struct{ section, text string }

// pages are the first page and all of docs.
type pages []*page

// loadPages reads them. Stories name a section by its anchor alone, so that those with code differ in it on all pages.
func loadPages() (pages, error) {
	paths, err := filepath.Glob("../docs/*.md")
	if err != nil {
		return nil, err
	}
	if len(paths) < 5 {
		return nil, fmt.Errorf("looking for the pages in ../docs: found only %q", paths)
	}
	var all pages
	on := map[string]string{} // a page's name, by section
	for _, name := range append([]string{"../README.md"}, paths...) {
		p, err := loadPage(strings.TrimPrefix(filepath.ToSlash(name), "../"))
		if err != nil {
			return nil, err
		}
		for _, block := range p.code {
			if other, taken := on[block.section]; taken && other != p.name {
				return nil, fmt.Errorf("%s and %s both have code under #%s", other, p.name, block.section)
			}
			on[block.section] = p.name
		}
		all = append(all, p)
	}
	return all, nil
}

func (all pages) page(name string) *page {
	return all[slices.IndexFunc(all, func(p *page) bool { return p.name == name })]
}

// blocks are the section's blocks of code in a language, in their order.
func (all pages) blocks(section, language string) []string {
	for _, p := range all {
		if found := p.blocks(section, language); len(found) > 0 {
			return found
		}
	}
	return nil
}

// loadPage reads a page by its path from the repository's root.
func loadPage(name string) (*page, error) {
	source, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
	if err != nil {
		return nil, fmt.Errorf("reading a page: %w", err)
	}
	converter := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(markdownparser.WithAutoHeadingID()))
	root := converter.Parser().Parse(text.NewReader(source))
	p := &page{name: name, rows: map[string][][][]string{}}
	section := ""
	err = markdown.Walk(root, func(node markdown.Node, entering bool) (markdown.WalkStatus, error) {
		if !entering {
			return markdown.WalkContinue, nil
		}
		switch node := node.(type) {
		case *markdown.Heading:
			id, _ := node.AttributeString("id")
			section = string(id.([]byte))
			p.sections = append(p.sections, section)
		case *markdown.Link:
			p.links = append(p.links, string(node.Destination))
		case *markdown.Image:
			p.links = append(p.links, string(node.Destination))
		case *markdown.AutoLink:
			p.links = append(p.links, string(node.URL(source)))
		case *markdown.FencedCodeBlock:
			language := string(node.Language(source))
			p.code = append(p.code, block{section, language, len(p.blocks(section, language)) + 1, string(node.Lines().Value(source))})
		case *tables.Table:
			p.rows[section] = append(p.rows[section], nil)
		case *tables.TableRow:
			var cells []string
			for cell := node.FirstChild(); cell != nil; cell = cell.NextSibling() {
				cells = append(cells, strings.TrimSpace(string(cell.Lines().Value(source))))
			}
			last := len(p.rows[section]) - 1
			p.rows[section][last] = append(p.rows[section][last], cells)
		case *markdown.ListItem:
			p.phrases = append(p.phrases, leading(node, section, source)...)
		}
		return markdown.WalkContinue, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the page %s: %w", name, err)
	}
	return p, nil
}

// leading are the phrases that an item begins with: `one`, `another`: what they mean.
func leading(item *markdown.ListItem, section string, source []byte) []phrase {
	var found []phrase
	if item.FirstChild() == nil {
		return nil
	}
	for node := item.FirstChild().FirstChild(); node != nil; node = node.NextSibling() {
		switch node := node.(type) {
		case *markdown.CodeSpan:
			var text bytes.Buffer
			for part := node.FirstChild(); part != nil; part = part.NextSibling() {
				text.Write(part.(*markdown.Text).Value(source))
			}
			found = append(found, phrase{section, strings.ReplaceAll(text.String(), "\n", " ")})
		case *markdown.Text:
			if between := string(node.Value(source)); strings.Trim(between, ", ") != "" {
				return found
			}
		default:
			return found
		}
	}
	return found
}

// blocks are the section's blocks of code in a language, in their order.
func (p *page) blocks(section, language string) []string {
	var found []string
	for _, block := range p.code {
		if block.section == section && block.language == language {
			found = append(found, block.text)
		}
	}
	return found
}

// table is a section's table, by its number from 0.
func (p *page) table(section string, number int) [][]string {
	if number >= len(p.rows[section]) {
		return nil
	}
	return p.rows[section][number]
}
