package e2e

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if os.Getenv(asParent) != "" {
		startAndWait()
	}
	testscript.Main(tests{m}, Commands())
}

var (
	// here opens the place for the first story.
	here = sync.OnceValues(func() (at *Place, err error) {
		opened, err = Open(context.Background(), nil)
		return opened, err
	})
	opened *Place
)

// tests are all of this package's; after them the place closes.
type tests struct{ *testing.M }

func (t tests) Run() int {
	status := t.M.Run()
	if opened != nil {
		if err := opened.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the machine:", err)
			status = 1
		}
	}
	return status
}

func TestStories(t *testing.T) { tell(t, Stories) }

func TestReadme(t *testing.T) { tell(t, Readme) }

// tell runs the stories of a folder, side by side with those of the other. One story runs with:
// go test -run 'TestStories/stories/road-postgres$'
func tell(t *testing.T, folder string) {
	t.Parallel()
	at, err := here()
	require.NoError(t, err)
	params, err := at.Params(folder, nil)
	require.NoError(t, err)
	params.Dir = folder
	// A folder of the test's own: testscript leaves the one that it makes.
	params.WorkdirRoot = t.TempDir()
	// Each story is parallel, and the group ends with the last of them.
	t.Run("stories", func(t *testing.T) { testscript.Run(t, params) })
}
