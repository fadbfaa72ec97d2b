using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>
/// The snapshot selected by <c>-l</c> of convert and measure: <c>snapshot.id=</c>, <c>snapshot.name=</c>, both, or a single word, which is
/// an id or, if no snapshot has that id, a name.
/// </summary>
internal sealed record SnapshotChoice(string? Id, string? Name, bool IsEither)
{
    public const string NotFound = "Failed to load snapshot: Can't find snapshot";

    private const string Prefix = "snapshot.";
    private const string IdKey = Prefix + "id";
    private const string NameKey = Prefix + "name";

    /// <summary>
    /// Reads an option's values: the last choice by keys, or, without one, the last word. Null if there is none, or if one is invalid; then
    /// <paramref name="fault"/> is set.
    /// </summary>
    public static SnapshotChoice? Read(ParseResult parsed, Option option, out string? fault)
    {
        fault = null;
        SnapshotChoice? found = null;
        foreach (string text in CommonOptions.Values(parsed, option))
        {
            if (text.StartsWith(Prefix, StringComparison.Ordinal))
            {
                found = Parse(text, out fault);
                if (fault is not null)
                {
                    return null;
                }
            }
            else if (found is null or { IsEither: true })
            {
                found = new SnapshotChoice(text, text, IsEither: true);
            }
        }

        return found;
    }

    private static SnapshotChoice? Parse(string text, out string? fault)
    {
        fault = null;

        var choice = new SnapshotChoice(null, null, IsEither: false);
        foreach (string part in text.Split(','))
        {
            string[] pair = part.Split('=', 2);
            switch (pair[0])
            {
                case IdKey when pair.Length == 2:
                    choice = choice with { Id = pair[1] };
                    break;
                case NameKey when pair.Length == 2:
                    choice = choice with { Name = pair[1] };
                    break;
                default:
                    fault = PrintableMessage.Of(
                        $"Invalid parameter '{pair[0]}'\n{MessageWriter.ToolName}: Failed in parsing snapshot param '{text}'");
                    return null;
            }
        }

        return choice;
    }

    /// <summary>Opens a chain with its disk as of the selected snapshot; null if the top image has no such snapshot.</summary>
    public async Task<ImageChain?> OpenAsync(string file, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        string? id;
        await using (ImageChain present = await ImageChain.OpenAsync(file, options, cancellationToken))
        {
            id = FindId(present);
        }

        return id is null ? null : await ImageChain.OpenAsync(file, options with { TopSnapshot = id }, cancellationToken);
    }

    private string? FindId(ImageChain chain)
    {
        IReadOnlyList<SnapshotInfo> snapshots = (chain.Layers[0] as Qcow2Layer)?.Image.Snapshots ?? [];
        SnapshotInfo? found = IsEither
            ? snapshots.FirstOrDefault(snapshot => Same(snapshot.Id, Id)) ?? snapshots.FirstOrDefault(snapshot => Same(snapshot.Name, Name))
            : snapshots.FirstOrDefault(snapshot => (Id is null || Same(snapshot.Id, Id)) && (Name is null || Same(snapshot.Name, Name)));
        return found?.Id;
    }

    private static bool Same(string stored, string? wanted) => string.Equals(stored, wanted, StringComparison.Ordinal);
}
