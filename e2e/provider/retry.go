package provider

import (
	"context"
	"time"
)

// Hurry is how long the real provider's patience is here: a second for a minute. Whoever waits in a test waits for the same
// events.
func Hurry(patience time.Duration) time.Duration { return patience / 60 }

// Retry does it again for as long as again says so of its error, at most as long as the real provider would. It answers
// the last error.
func Retry(ctx context.Context, patience time.Duration, again func(error) bool, do func() error) error {
	for end := time.Now().Add(Hurry(patience)); ; {
		err := do()
		if err == nil || !again(err) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
