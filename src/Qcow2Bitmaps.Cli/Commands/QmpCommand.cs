using System.CommandLine;
using System.CommandLine.Parsing;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Qmp;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>qmp</c>: bitmaps and backups over the QEMU Machine Protocol.</summary>
internal static class QmpCommand
{
    public static Command Create(MessageWriter messages)
    {
        Option<QmpImage[]> images = Image("--image", "Open an image for writing as node and device NODE. Repeatable", isReadOnly: false);
        Option<QmpImage[]> readOnly = Image("--read-only-image", "Open an image for reading only. Repeatable", isReadOnly: true);
        Option<string?> socket = CommonOptions.Value(
            "--socket", "Listen on this unix socket, for one client at a time. Default: standard input and output", "PATH");
        Option<string[]> allowBacking = CommonOptions.AllowBacking();
        var command = new Command(
            "qmp",
            """
            Serve bitmaps and backups over QMP, QEMU's machine protocol

            The commands are those of qemu-storage-daemon. While an image is open its
            bitmaps are marked in-use. They are stored at the end: after 'quit', SIGTERM or
            SIGINT, or at the end of standard input once all jobs are done. If the process
            is killed, they are inconsistent, as with QEMU.
            """)
        {
            images, readOnly, socket, allowBacking,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using var stop = new StopSignals(cancellationToken);
            QmpServer server;
            try
            {
                server = await QmpServer.OpenAsync(
                    [.. parsed.GetValue(images) ?? [], .. parsed.GetValue(readOnly) ?? []],
                    text => messages.Warn($"{text}"),
                    new ChainOpenOptions { AllowedFolders = parsed.GetValue(allowBacking) ?? [] },
                    cancellationToken: stop.Token);
            }
            catch (ArgumentException e)
            {
                return messages.WrongArgument(e);
            }

            await using (server)
            {
                try
                {
                    if (parsed.GetValue(socket) is { } path)
                    {
                        await server.ListenAsync(path, stop.Token);
                    }
                    else
                    {
                        using Stream input = Console.OpenStandardInput();
                        using Stream output = StandardStreams.OpenOutput();
                        await server.ServeAsync(input, output, isLast: true, stop.Token);
                    }
                }
                catch (OperationCanceledException) when (stop.Token.IsCancellationRequested)
                {
                    // A signal has the same effect as 'quit'.
                }
            }

            return ExitCode.Success;
        });
        return command;
    }

    private static Option<QmpImage[]> Image(string name, string description, bool isReadOnly) => new(name)
    {
        Description = description,
        HelpName = "NODE=FILE",
        CustomParser = result => [.. result.Tokens.Select(token => Parse(token.Value, isReadOnly, result)).OfType<QmpImage>()],
    };

    private static QmpImage? Parse(string text, bool isReadOnly, ArgumentResult result)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        if (equals > 0 && equals < text.Length - 1)
        {
            return new QmpImage(text[..equals], text[(equals + 1)..], isReadOnly);
        }

        result.AddError($"Expecting NODE=FILE, not '{text}'");
        return null;
    }
}
