using System.CommandLine;
using System.CommandLine.Parsing;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>check</c>: reports and repairs what qemu-img check does, and also faults of bitmaps.</summary>
internal static class CheckCommand
{
    private const int MaxPrinted = 100;
    // The library keeps as many.
    private const int MaxKept = 100_000;

    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string> file = CommonOptions.File("FILE", "The image");
        Option<string?> format = CommonOptions.Format("the image");
        Option<bool> share = CommonOptions.ForceShare();
        Option<OutputFormat> form = CommonOptions.Output();
        Option<bool> quiet = CommonOptions.Quiet();
        Option<string?> cache = CacheModes.CreateForSource("The image's");
        var repair = new Option<RepairKinds>("-r", "--repair")
        {
            Description = "Repair what is wrong, as explained above. Repeatable",
            HelpName = "leaks|all|bitmaps",
            Arity = ArgumentArity.OneOrMore,
            CustomParser = ParseKinds,
        };
        Option<bool> all = CommonOptions.Flag("--all", $"Print all findings, not only the first {MaxPrinted}");
        var command = new Command(
            "check",
            """
            Check an image for errors and leaks, and repair it

            Compares the use of every cluster with the reference counts. Needs no key,
            data file or backing file. An image that QEMU cannot open because of its
            bitmaps is checked too. JSON output has all findings in 'findings'.

            With -r the image is repaired and checked again: 'leaks' lowers reference
            counts that are too high; 'all' repairs everything that qemu-img repairs;
            'bitmaps' repairs what keeps QEMU from opening the image because of its
            bitmaps, and can be combined with one of the others.

            Exit codes: 0 no faults, or none left; 1 error; 2 corruptions; 3 only leaked
            clusters; 63 the format has nothing to check.
            """)
        {
            repair, all, format, share, form, quiet, cache, file,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string path = parsed.GetRequiredValue(file);
            RepairKinds kinds = parsed.GetValue(repair);
            if (CacheModes.FindSourceFault(parsed.GetValue(cache)) is { } fault)
            {
                messages.Error(fault);
                return ExitCode.Error;
            }

            if (kinds != RepairKinds.None && parsed.GetValue(share))
            {
                messages.Error("-U only reads: it cannot be used with -r");
                return ExitCode.Error;
            }

            await using ImageStorage storage = kinds != RepairKinds.None
                ? ImageStorage.OpenFile(path, FileAccess.ReadWrite, ImageLock.Write)
                : ImageStorage.OpenFile(path, FileAccess.Read, parsed.GetValue(share) ? ImageLock.SharedRead : ImageLock.Read);
            string found = parsed.GetValue(format) ?? await ImageFormat.ProbeAsync(storage, cancellationToken);
            if (!string.Equals(found, ImageFormat.Qcow2, StringComparison.Ordinal))
            {
                messages.Error("This image format does not support checks");
                return ExitCode.CannotCheck;
            }

            await using Qcow2Image image = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: cancellationToken);
            // The report has what a lenient reader found about bitmaps, and why a strict one refuses the image.
            messages.Warn(path, [.. image.Findings.Where(finding => !image.IsLenient
                || !(finding.IsOfBitmaps || (finding.IsRefused && finding.Id is not "snapshot-table-truncated")))]);
            await messages.WarnOfTruncationAsync(image, kinds != RepairKinds.None, trustsCounts: true, cancellationToken);
            CheckReport report = kinds != RepairKinds.None
                ? await image.RepairAsync(kinds, cancellationToken)
                : await image.CheckAsync(cancellationToken);
            return Print(
                report, path, parsed.GetValue(form), parsed.GetValue(all) ? MaxKept : MaxPrinted,
                parsed.GetValue(quiet) ? null : output, messages);
        });
        return command;
    }

    /// <summary>Of 'leaks' and 'all' the last one counts, as in qemu-img.</summary>
    private static RepairKinds ParseKinds(ArgumentResult result)
    {
        RepairKinds kinds = RepairKinds.None;
        foreach (Token token in result.Tokens)
        {
            switch (token.Value)
            {
                case "leaks":
                    kinds = (kinds & RepairKinds.Bitmaps) | RepairKinds.Leaks;
                    break;
                case "all":
                    kinds = (kinds & RepairKinds.Bitmaps) | RepairKinds.All;
                    break;
                case "bitmaps":
                    kinds |= RepairKinds.Bitmaps;
                    break;
                default:
                    result.AddError($"Unknown option value for -r (expecting 'leaks', 'all' or 'bitmaps'): {token.Value}");
                    break;
            }
        }

        return kinds;
    }

    private static int Print(CheckReport report, string path, OutputFormat form, int maxPrinted, ToolWriter? output, MessageWriter messages)
    {
        Write(report.Repairs, report.Repairs.Count, maxPrinted, messages);
        if (output is not null && form == OutputFormat.Human)
        {
            CheckOutput.WriteFixed(report, output);
        }

        Write(report.Findings, report.Corruptions + report.Leaks + report.CheckErrors, maxPrinted, messages);
        if (output is not null && form == OutputFormat.Json)
        {
            CheckOutput.WriteJson(report, path, output);
        }
        else if (output is not null)
        {
            CheckOutput.WriteText(report, output);
        }

        if (report.CheckErrors > 0)
        {
            messages.Error("Check failed");
        }

        return report.CheckErrors > 0 ? ExitCode.Error
            : report.Corruptions > 0 ? ExitCode.Corruptions
            : report.Leaks > 0 ? ExitCode.Leaks
            : ExitCode.Success;
    }

    private static void Write(IReadOnlyList<CheckFinding> findings, long inAll, int maxPrinted, MessageWriter messages)
    {
        foreach (CheckFinding finding in findings.Take(maxPrinted))
        {
            messages.WriteLine(PrintableMessage.OfLines(finding.Message));
        }

        if (findings.Count > maxPrinted)
        {
            messages.WriteLine($"{Math.Max(inAll, findings.Count) - maxPrinted} more of these; '--all' prints them");
        }
        else if (findings.Count >= MaxKept)
        {
            messages.WriteLine(inAll > findings.Count ? $"{inAll - findings.Count} more of these" : "and more of these");
        }
    }
}
