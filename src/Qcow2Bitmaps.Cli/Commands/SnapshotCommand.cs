using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>snapshot</c>: qemu-img's verb for internal snapshots.</summary>
internal static class SnapshotCommand
{
    private const string NotSupported = "Operation not supported";
    private const string InvalidArgument = "Invalid argument";
    private const string NotFound = "snapshot not found";
    private const int MaxNameBytes = 255;

    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string[]> file = new("FILE") { Description = "The image", Arity = ArgumentArity.ZeroOrMore };
        Option<bool> list = CommonOptions.Flag("-l", "List the snapshots");
        Option<string[]> apply = CommonOptions.Repeatable(
            "-a", "Apply a snapshot (name or id): the current content is lost. Refused if the image has bitmaps", "NAME");
        Option<string[]> create = CommonOptions.Repeatable("-c", "Create a snapshot. Bitmaps do not change", "NAME");
        Option<string[]> delete = CommonOptions.Repeatable("-d", "Delete a snapshot. Bitmaps do not change", "NAME");
        Option<bool> quiet = CommonOptions.Quiet();
        Option<bool> share = CommonOptions.ForceShare();
        var command = new Command(
            "snapshot",
            """
            List, create, apply and delete internal snapshots

            The options are qemu-img's. An interruption leaves the image as it was before
            or as it is after. Needs no key and no backing file.

            Exit codes: 0 success; 1 error, and nothing was changed.
            """)
        {
            list, apply, create, delete, quiet, share, file,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string[] files = parsed.GetValue(file) ?? [];
            (char Kind, string Name)[] actions =
            [
                .. Enumerable.Repeat(('l', ""), parsed.GetResult(list)?.IdentifierTokenCount ?? 0),
                .. Actions('a', parsed.GetValue(apply)), .. Actions('c', parsed.GetValue(create)), .. Actions('d', parsed.GetValue(delete)),
            ];
            if (actions.Length > 1 || files.Length != 1)
            {
                messages.Error(actions.Length > 1 ? "Cannot mix '-l', '-a', '-c', '-d'" : "Expecting one image file name");
                messages.WriteLine($"Try '{MessageWriter.ToolName} snapshot --help' for more information");
                return ExitCode.Error;
            }

            bool isRead = actions is [('l', _)];
            if (!isRead && parsed.GetValue(share))
            {
                messages.Error($"Could not open '{files[0]}': force-share=on can only be used with read-only images");
                return ExitCode.Error;
            }

            await using ImageStorage storage = isRead
                ? ImageStorage.OpenFile(files[0], FileAccess.Read, parsed.GetValue(share) ? ImageLock.SharedRead : ImageLock.Read)
                : ImageStorage.OpenFile(files[0], FileAccess.ReadWrite, ImageLock.Write);
            bool isQcow2 = string.Equals(
                await ImageFormat.ProbeAsync(storage, cancellationToken), ImageFormat.Qcow2, StringComparison.Ordinal);
            await using Qcow2Image? image = isQcow2
                ? await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: cancellationToken)
                : null;
            if (image is not null)
            {
                messages.Warn(files[0], image.Findings);
            }

            if (isRead)
            {
                new SnapshotList(output).Write(image?.Snapshots ?? []);
                return ExitCode.Success;
            }

            if (image is not null)
            {
                await messages.WarnOfTruncationAsync(image, isWritten: true, trustsCounts: false, cancellationToken);
            }

            // Without an action, nothing is done, as in qemu-img.
            string? refusal = actions is [(char kind, string name)] ? await RunAsync(image, kind, name, cancellationToken) : null;
            if (refusal is null)
            {
                return ExitCode.Success;
            }

            messages.Error(refusal);
            return ExitCode.Error;
        });
        return command;
    }

    /// <summary>Performs an action.</summary>
    /// <returns>Why it is impossible, in qemu-img's words; null if it was done.</returns>
    private static async ValueTask<string?> RunAsync(Qcow2Image? image, char kind, string name, CancellationToken cancellationToken)
    {
        string? why = image is not null
            ? await TryAsync(image, kind, name, cancellationToken)
            : kind switch
            {
                'c' => $"-95 ({NotSupported})",
                'd' => NotFound,
                _ => "Block driver does not support snapshots",
            };
        string verb = kind switch
        {
            'c' => "create",
            'd' => "delete",
            _ => "apply",
        };
        return why is null ? null : PrintableMessage.Of($"Could not {verb} snapshot '{name}': ") + why;
    }

    private static async ValueTask<string?> TryAsync(Qcow2Image image, char kind, string name, CancellationToken cancellationToken)
    {
        try
        {
            switch (kind)
            {
                case 'c':
                    await image.CreateSnapshotAsync(Cut(name), cancellationToken);
                    break;
                case 'd':
                    await image.DeleteSnapshotAsync(name, cancellationToken);
                    break;
                default:
                    await image.ApplySnapshotAsync(name, cancellationToken);
                    break;
            }

            return null;
        }
        catch (SnapshotStateException)
        {
            return kind == 'd' ? NotFound : "Failed to load snapshot: No such file or directory";
        }
        catch (Qcow2UnsupportedException e) when (Describe(kind, e) is { } why)
        {
            return why;
        }
    }

    private static string? Describe(char kind, Qcow2UnsupportedException e) => (kind, e.Id) switch
    {
        ('c', "refcount-width") => $"-22 ({InvalidArgument})\n{e.Message}",
        ('c', "external-data-file") => $"-95 ({NotSupported})",
        ('c', "limit") => $"-27 (File too large)\n{e.Message}",
        // qemu-img looks for the snapshot first, and such an image has none.
        ('d', "external-data-file") => NotFound,
        ('a', "external-data-file") => $"Failed to load snapshot: {NotSupported}",
        ('a', "refcount-width") => $"Failed to load snapshot: {InvalidArgument}\n{e.Message}",
        ('a', "snapshot-with-bitmaps" or "version2") => e.Message,
        _ => null,
    };

    /// <summary>QEMU truncates names to the space that it has.</summary>
    private static string Cut(string name)
    {
        byte[] bytes = ImageText.Encode(name);
        return bytes.Length > MaxNameBytes ? ImageText.Decode(bytes.AsSpan(0, MaxNameBytes)) : name;
    }

    private static IEnumerable<(char Kind, string Name)> Actions(char kind, string[]? names) => (names ?? []).Select(name => (kind, name));
}
