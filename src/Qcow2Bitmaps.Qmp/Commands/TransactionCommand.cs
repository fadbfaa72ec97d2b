using System.Text.Json;
using Qcow2Bitmaps.Qmp.Jobs;
using Qcow2Bitmaps.Qmp.Protocol;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>Actions by themselves, and several in a <c>transaction</c>.</summary>
internal static class TransactionCommand
{
    private const string Abort = "abort";

    public static void AddTo(QmpCommands commands, Dictionary<string, ActionReader> actions, QmpJobs jobs)
    {
        foreach ((string name, ActionReader read) in actions)
        {
            commands.Add(name, async (arguments, cancellationToken) =>
            {
                var plan = new TransactionPlan(jobs);
                read(arguments)(plan);
                await plan.RunAsync(cancellationToken).ConfigureAwait(false);
                return null;
            });
        }

        actions.Add(Abort, arguments =>
        {
            arguments.Finish();
            return static plan => plan.Abort();
        });
        commands.Add("transaction", async (arguments, cancellationToken) =>
        {
            (string Type, Action<TransactionPlan> Action)[] read = [.. arguments.List("actions")
                .Select((item, index) => ReadAction(arguments, item, index, actions))];
            bool isGrouped = false;
            if (arguments.OptionalObject("properties") is { } properties)
            {
                isGrouped = properties.OptionalOneOf("completion-mode", ("individual", false), ("grouped", true)) ?? false;
                properties.Finish();
            }

            arguments.Finish();
            var plan = new TransactionPlan(jobs) { Group = isGrouped ? new QmpJobGroup() : null };
            foreach ((string type, Action<TransactionPlan> action) in read)
            {
                if (isGrouped && type is not ("blockdev-backup" or "drive-backup"))
                {
                    throw new QmpException($"Action '{type}' does not support Transaction property completion-mode = grouped");
                }

                action(plan);
            }

            await plan.RunAsync(cancellationToken).ConfigureAwait(false);
            return null;
        });
    }

    private static (string Type, Action<TransactionPlan> Action) ReadAction(
        QmpArguments arguments, JsonElement item, int index, Dictionary<string, ActionReader> actions)
    {
        QmpArguments action = arguments.Item("actions", index, item);
        string type = action.String("type");
        if (!actions.TryGetValue(type, out ActionReader? reader))
        {
            throw QmpArguments.NotAccepted("type", type);
        }

        Action<TransactionPlan> read = reader(action.Object("data"));
        action.Finish();
        return (type, read);
    }
}
