using System.Text.Json;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Qmp.Nodes;
using Qcow2Bitmaps.Qmp.Protocol;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>The operations on bitmaps, as commands and as actions of a transaction.</summary>
internal static class BitmapActions
{
    // The largest: a disk of any size has so many bits.
    private const long EmptyGranularityBytes = 1L << 31;

    public static void AddTo(Dictionary<string, ActionReader> actions, QmpNodes nodes)
    {
        actions.Add("block-dirty-bitmap-add", arguments =>
        {
            string node = arguments.String("node");
            string name = arguments.String("name");
            uint? granularity = arguments.OptionalUInt32("granularity");
            bool isPersistent = arguments.OptionalBoolean("persistent") ?? false;
            bool isDisabled = arguments.OptionalBoolean("disabled") ?? false;
            arguments.Finish();
            return plan =>
            {
                RecordingSession session = nodes.Device(node).Session;
                plan.Add(transaction => transaction.Add(session, name, granularity, isPersistent, !isDisabled));
            };
        });
        Step("block-dirty-bitmap-remove", static (transaction, session, name) => transaction.Remove(session, name));
        Step("block-dirty-bitmap-clear", static (transaction, session, name) => transaction.Clear(session, name));
        Step("block-dirty-bitmap-enable", static (transaction, session, name) => transaction.Enable(session, name));
        Step("block-dirty-bitmap-disable", static (transaction, session, name) => transaction.Disable(session, name));
        actions.Add("block-dirty-bitmap-merge", arguments =>
        {
            string node = arguments.String("node");
            string target = arguments.String("target");
            (string? Node, string Name)[] sources = [.. arguments.List("bitmaps")
                .Select((item, index) => ReadSource(arguments, item, index))];
            arguments.Finish();
            return plan =>
            {
                RecordingSession session = nodes.Node(node).Session;
                RecordingSession?[] sessions = [.. sources.Select(source => source.Node is null ? null : nodes.Node(source.Node).Session)];
                plan.Add(transaction =>
                {
                    if (sources.Length == 0)
                    {
                        // The target must be there all the same.
                        transaction.Merge(session, target, new DirtyBitmap(session.SizeBytes, EmptyGranularityBytes));
                    }

                    for (int i = 0; i < sources.Length; i++)
                    {
                        transaction.Merge(session, target, sources[i].Name, sessions[i]);
                    }
                });
            };
        });

        void Step(string action, Action<RecordingTransaction, RecordingSession, string> step) => actions.Add(action, arguments =>
        {
            string node = arguments.String("node");
            string name = arguments.String("name");
            arguments.Finish();
            return plan =>
            {
                RecordingSession session = nodes.Node(node).Session;
                plan.Add(transaction => step(transaction, session, name));
            };
        });
    }

    private static (string? Node, string Name) ReadSource(QmpArguments arguments, JsonElement item, int index)
    {
        switch (item.ValueKind)
        {
            case JsonValueKind.String:
                return (null, item.GetString()!);
            case JsonValueKind.Object:
                QmpArguments external = arguments.Item("bitmaps", index, item);
                (string, string) source = (external.String("node"), external.String("name"));
                external.Finish();
                return source;
            default:
                throw QmpArguments.WrongType("null", "BlockDirtyBitmapOrStr");
        }
    }
}
