using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>compare</c>: compares two disks as qemu-img compare does.</summary>
internal sealed class CompareCommand
{
    private const double MinStepPercent = 2;

    private readonly Argument<string[]> _files = new("FILE1 FILE2")
    {
        Description = "The images, each the top of its chain",
        Arity = ArgumentArity.ZeroOrMore,
    };
    private readonly Option<string?> _firstFormat = CommonOptions.AnyFormat("the first image");
    private readonly Option<string?> _secondFormat = CommonOptions.AnyFormat("the second image", "-F");
    private readonly Option<bool> _progress = CommonOptions.Flag("-p", "Show progress");
    private readonly Option<bool> _quiet = CommonOptions.Quiet();
    private readonly Option<bool> _strict = CommonOptions.Flag("-s", "Strict: sizes and allocation must be the same too");

    private readonly Option<string?> _cache = CacheModes.CreateForSource("The images'");
    private readonly Option<bool> _share = CommonOptions.ForceShare();
    private readonly Option<string[]> _allowBacking = CommonOptions.AllowBacking();
    private readonly ToolWriter _output;
    private readonly MessageWriter _messages;

    private CompareCommand(ToolWriter output, MessageWriter messages)
    {
        _output = output;
        _messages = messages;
    }

    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        var compare = new CompareCommand(output, messages);
        var command = new Command(
            "compare",
            """
            Compare the content of two images

            If one image is longer, it must read as zeros there. What both images have as
            zeros, or in the same place of the same file, is not read.

            Exit codes: 0 identical; 1 different, or wrong usage; 2 an image cannot be
            opened; 3 a table cannot be read; 4 data cannot be read.
            """)
        {
            compare._firstFormat, compare._secondFormat, compare._progress, compare._quiet, compare._strict, compare._cache, compare._share,
            compare._allowBacking, compare._files,
        };
        command.SetAction(compare.RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        string[] files = parsed.GetValue(_files) ?? [];
        if (files.Length != 2)
        {
            _messages.Error("Expecting two image file names");
            _messages.WriteLine($"Try '{MessageWriter.ToolName} compare --help' for more information");
            return ExitCode.Error;
        }

        if (CacheModes.FindSourceFault(parsed.GetValue(_cache)) is { } cacheFault)
        {
            _messages.Error(cacheFault);
            return ExitCode.CannotOpen;
        }

        bool isQuiet = parsed.GetValue(_quiet);
        // As in qemu-img, -q also silences the progress.
        var progress = new ProgressOutput(parsed.GetValue(_progress) && !isQuiet ? _output : null, MinStepPercent);
        try
        {
            return await CompareAsync(parsed, files, progress, isQuiet, cancellationToken);
        }
        finally
        {
            progress.End();
        }
    }

    private async Task<int> CompareAsync(
        ParseResult parsed, string[] files, ProgressOutput progress, bool isQuiet, CancellationToken cancellationToken)
    {
        ImageChain? first = await OpenAsync(parsed, files[0], parsed.GetValue(_firstFormat), cancellationToken);
        if (first is null)
        {
            return ExitCode.CannotOpen;
        }

        await using (first)
        {
            ImageChain? second = await OpenAsync(parsed, files[1], parsed.GetValue(_secondFormat), cancellationToken);
            if (second is null)
            {
                return ExitCode.CannotOpen;
            }

            await using (second)
            {
                progress.Start();
                return await CompareAsync(first, second, parsed.GetValue(_strict), progress, isQuiet, cancellationToken);
            }
        }
    }

    private async Task<int> CompareAsync(
        ImageChain first, ImageChain second, bool isStrict, ProgressOutput progress, bool isQuiet, CancellationToken cancellationToken)
    {
        ImageComparison result;
        bool isWarned = isQuiet;
        try
        {
            long firstSize = first.SizeBytes;
            long secondSize = second.SizeBytes;
            var steps = new ProgressSteps(step =>
            {
                // Differences beyond the shorter disk's end are reported after the warning.
                if (step.DoneBytes > Math.Min(firstSize, secondSize))
                {
                    WarnOfSizes(ref isWarned);
                }

                progress.Update(step.DoneBytes, step.TotalBytes);
            });
            result = await DiskCopy.CompareAsync(first, second, isStrict, steps, cancellationToken);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _messages.Error(RemedyText.Describe(e));
            return e switch
            {
                Qcow2UnsupportedException => ExitCode.CannotOpen,
                Qcow2FormatException { Fault.Id: not "compressed-data" } => ExitCode.CannotMap,
                _ => ExitCode.CannotRead,
            };
        }

        if (result.SizesDiffer && result.Outcome != ComparisonOutcome.SizesDiffer)
        {
            WarnOfSizes(ref isWarned);
        }

        if (!isQuiet)
        {
            _output.WriteLine(result.Outcome switch
            {
                ComparisonOutcome.ContentDiffers => $"Content mismatch at offset {result.OffsetBytes}!",
                ComparisonOutcome.SizesDiffer => "Strict mode: Image size mismatch!",
                ComparisonOutcome.StatusDiffers => $"Strict mode: Offset {result.OffsetBytes} block status mismatch!",
                _ => "Images are identical.",
            });
        }

        return result.Outcome == ComparisonOutcome.Identical ? ExitCode.Success : ExitCode.Different;
    }

    private void WarnOfSizes(ref bool isWarned)
    {
        if (!isWarned)
        {
            _output.WriteLine("Warning: Image size mismatch!");
            isWarned = true;
        }
    }

    /// <summary>Opens a chain; null if that failed and the error has been reported.</summary>
    private async Task<ImageChain?> OpenAsync(ParseResult parsed, string file, string? format, CancellationToken cancellationToken)
    {
        if (format is not null and not (ImageFormat.Qcow2 or ImageFormat.Raw))
        {
            _messages.Error($"Could not open '{file}': {CommonOptions.UnknownDriver(format)}");
            return null;
        }

        var options = new ChainOpenOptions
        {
            Image = new Qcow2OpenOptions { Lock = parsed.GetValue(_share) ? ImageLock.SharedRead : ImageLock.Read },
            TopFormat = format,
            AllowedFolders = parsed.GetValue(_allowBacking) ?? [],
        };
        try
        {
            ImageChain chain = await ImageChain.OpenAsync(file, options, cancellationToken);
            try
            {
                _messages.WarnOf(chain);
                await _messages.WarnOfTruncationAsync(chain, withDataFiles: true, cancellationToken);
                return chain;
            }
            catch
            {
                await chain.DisposeAsync();
                throw;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _messages.Error(RemedyText.Describe(e));
            return null;
        }
    }
}
