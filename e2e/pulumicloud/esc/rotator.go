package esc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc/schema"
)

// databaseRotator is fn::rotate::postgres and fn::rotate::mysql. Inputs, state
// and outputs are those of Pulumi's documentation of the rotators; a database
// without a connector is refused.
type databaseRotator struct {
	evaluation
	engine string
}

// databaseUser is one user in a rotator's inputs and state.
type databaseUser struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

func (u databaseUser) value() esc.Value {
	return esc.NewValue(map[string]esc.Value{
		"username": esc.NewValue(u.Username), "password": esc.NewSecret(u.Password),
	})
}

// databaseInputs are a rotator's inputs.
type databaseInputs struct {
	Database struct {
		Connector struct {
			AWSLambda *struct {
				LambdaArn string
				Login     struct{ AccessKeyID, SecretAccessKey, SessionToken string }
			}
		}
		Database, Host string
		Port           json.Number
		ManagingUser   databaseUser
	}
	RotateUsers struct{ Username1, Username2 string }
}

// rotatedUsers is a rotator's state: current is for use, previous still works
// until the next rotation.
type rotatedUsers struct{ Current, Previous databaseUser }

// rotation is the event that ESC sends to the connector.
type rotation struct {
	Type         string       `json:"type"`
	Host         string       `json:"host"`
	Port         json.Number  `json:"port"`
	Database     string       `json:"database"`
	ManagingUser databaseUser `json:"managingUser"`
	RotateUser   struct {
		databaseUser
		NewPassword string `json:"newPassword"`
	} `json:"rotateUser"`
}

func userSchema() *schema.Schema {
	return schema.Record(schema.BuilderMap{"username": schema.String(), "password": schema.String()}).Schema()
}

// Schema implements [esc.Rotator]. The database is needed for a rotation only,
// so who opens the environment needs no access to the managing credentials.
func (databaseRotator) Schema() (inputs, state, outputs *schema.Schema) {
	inputs = schema.Record(schema.BuilderMap{
		"database": schema.Object().Properties(schema.BuilderMap{
			"connector": schema.Record(schema.BuilderMap{
				"awsLambda": schema.Record(schema.BuilderMap{"login": awsLoginSchema(), "lambdaArn": schema.String()}),
			}),
			"database":     schema.String(),
			"host":         schema.String(),
			"port":         schema.Number(),
			"managingUser": userSchema(),
		}).Required("database", "host", "port", "managingUser").AdditionalProperties(schema.Never()),
		"rotateUsers": schema.Record(schema.BuilderMap{"username1": schema.String(), "username2": schema.String()}),
	}).RotateOnly("database").Schema()
	users := func() *schema.Schema {
		return schema.Record(schema.BuilderMap{"current": userSchema(), "previous": userSchema()}).Schema()
	}
	return inputs, users(), users()
}

// Open implements [esc.Rotator]: the values are the state.
func (databaseRotator) Open(
	_ context.Context, _, state map[string]esc.Value, _ esc.EnvExecContext,
) (esc.Value, error) {
	if state == nil {
		return esc.Value{}, errors.New("the secret has no state yet: rotate the environment first")
	}
	return esc.NewValue(state), nil
}

// Rotate implements [esc.Rotator]: the user that is not current gets a new
// password and becomes current; without a state that is the first one.
func (r databaseRotator) Rotate(
	ctx context.Context, values, state map[string]esc.Value, _ esc.EnvExecContext,
) (esc.Value, error) {
	var inputs databaseInputs
	if err := decode(values, &inputs); err != nil {
		return esc.Value{}, err
	}
	var before rotatedUsers
	if err := decode(state, &before); err != nil {
		return esc.Value{}, err
	}
	rotated, other := inputs.RotateUsers.Username1, inputs.RotateUsers.Username2
	if before.Current.Username == rotated {
		rotated, other = other, rotated
	}
	event := rotation{
		Type: r.engine, Host: inputs.Database.Host, Port: inputs.Database.Port,
		Database: inputs.Database.Database, ManagingUser: inputs.Database.ManagingUser,
	}
	event.RotateUser.Username = rotated
	if before.Previous.Username == rotated {
		event.RotateUser.Password = before.Previous.Password
	}
	event.RotateUser.NewPassword = r.service.options.NewPassword()
	if err := r.invoke(ctx, inputs, event); err != nil {
		return esc.Value{}, err
	}
	previous := databaseUser{Username: other}
	if before.Current.Username == other {
		previous.Password = before.Current.Password
	}
	current := databaseUser{Username: rotated, Password: event.RotateUser.NewPassword}
	return esc.NewValue(map[string]esc.Value{"current": current.value(), "previous": previous.value()}), nil
}

// invoke sends the event to the connector's function, with the rights of the
// role that the login assumed, and turns everything but code 200 into an error.
func (r databaseRotator) invoke(ctx context.Context, inputs databaseInputs, event rotation) error {
	connector := inputs.Database.Connector.AWSLambda
	if connector == nil {
		return errors.New("this stand-in for Pulumi ESC rotates through a connector only: set database.connector")
	}
	function, err := arn.Parse(connector.LambdaArn)
	if err != nil || function.Service != "lambda" {
		return fmt.Errorf("lambdaArn %q is not the ARN of a Lambda function", connector.LambdaArn)
	}
	if err := r.service.permits(ctx, connector.Login.AccessKeyID, "lambda:InvokeFunction", connector.LambdaArn); err != nil {
		return fmt.Errorf("operation error Lambda: Invoke, %w", err)
	}
	payload, err := json.Marshal(event)
	if err != nil {
		return fmt.Errorf("encoding the rotation event: %w", err)
	}
	client := lambda.New(lambda.Options{
		Region: function.Region, BaseEndpoint: &r.service.options.AWSEndpoint,
		Credentials: staticCredentials(connector.Login.AccessKeyID, connector.Login.SecretAccessKey, connector.Login.SessionToken),
		// One rotation is one invocation: what fails must be seen.
		Retryer: aws.NopRetryer{},
	})
	output, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &connector.LambdaArn, Payload: payload})
	if err != nil {
		return err
	}
	if output.FunctionError != nil {
		var thrown struct{ ErrorMessage string }
		if err := json.Unmarshal(output.Payload, &thrown); err != nil {
			return fmt.Errorf("the connector's function failed (%s)", *output.FunctionError)
		}
		return fmt.Errorf("the connector's function failed (%s): %s", *output.FunctionError, thrown.ErrorMessage)
	}
	var response struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal(output.Payload, &response); err != nil {
		return fmt.Errorf("reading the answer of the connector's function: %w", err)
	}
	if response.Code != 200 {
		return errors.New(response.Message)
	}
	return nil
}

// newPassword is 40 characters of those that a keyboard has, space aside. It never holds ${, which the evaluator takes for an
// interpolation when somebody edits the document.
func newPassword() string {
	var password strings.Builder
	for password.Len() < 40 {
		n, err := rand.Int(rand.Reader, big.NewInt('~'-'!'+1))
		if err != nil {
			panic(err) // crypto/rand's Reader does not fail
		}
		next := byte('!' + n.Int64())
		if next == '{' && strings.HasSuffix(password.String(), "$") {
			continue
		}
		password.WriteByte(next)
	}
	return password.String()
}
