package infra

import (
	"fmt"

	"esc-connector-lambda-go/lambda/event"
)

// dryRun is the event that has the function reach the database, and change nothing:
//
//	{"type":"postgres","host":"db.example","port":5432,"dryRun":true}
func dryRun(database *Database) (string, error) {
	text, err := event.Request{Type: database.Engine, Host: database.Host, Port: database.Port, DryRun: true}.Wire()
	if err != nil {
		return "", fmt.Errorf("writing the dry run's event: %w", err)
	}
	return string(text), nil
}

// checkCommand is a line for bash and zsh that invokes the function with a dry run. The payload is a
// file, since version 1 of the AWS CLI takes it as it is and version 2 as base64 where it is inline. The answer goes
// through a pipe, since the CLI opens its output anew and empties it, and comes without what the CLI itself says of the
// invocation. The command succeeds if the check does.
func (d *deployment) checkCommand() (string, error) {
	payload, err := dryRun(d.database)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("(answer=$(%s lambda invoke --region %s --function-name %s --payload fileb://<(printf %%s '%s') /dev/fd/3 3>&1 >/dev/null) && "+
		`printf '%%s\n' "$answer" && [[ $answer == '{"code":200,'* ]])`,
		d.account.CLI, d.account.Region, d.names.function, payload), nil
}
