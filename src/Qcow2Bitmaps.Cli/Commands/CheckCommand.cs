using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>check</c>: what qemu-img check says, without repairing anything.</summary>
internal static class CheckCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string> file = CommonOptions.File("FILE", "The image");
        Option<string?> format = CommonOptions.Format("the image");
        Option<bool> share = CommonOptions.ForceShare();
        Option<OutputFormat> form = CommonOptions.Output();
        var command = new Command(
            "check",
            """
            Count every use of every cluster and compare with the stored reference counts, in qemu-img's words. Nothing is repaired. Needs no key, data file or backing file. An image that QEMU cannot open because of its bitmaps is checked too, and their faults are listed.

            Exit codes: 0 no faults; 1 error; 2 corruptions; 3 leaked clusters only; 63 the format has nothing to check.
            """)
        {
            format, share, form, file,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string path = parsed.GetRequiredValue(file);
            var options = new Qcow2OpenOptions { Lock = parsed.GetValue(share) ? ImageLock.SharedRead : ImageLock.Read };
            await using var storage = FileStorage.Open(path, StorageAccess.Read, options.Lock);
            string found = parsed.GetValue(format) ?? await ImageFormat.ProbeAsync(storage, cancellationToken);
            if (!string.Equals(found, ImageFormat.Qcow2, StringComparison.Ordinal))
            {
                messages.Error("This image format does not support checks");
                return ExitCode.CannotCheck;
            }

            await using Qcow2Image image = await Qcow2Image.OpenForCheckAsync(storage, options, cancellationToken);
            // The report lists what a lenient reader found of bitmaps.
            messages.Warn(path, [.. image.Findings.Where(finding => image.Strictness == Strictness.AsQemu || !finding.IsOfBitmaps)]);
            CheckReport report = await image.CheckAsync(cancellationToken);
            foreach (CheckFinding finding in report.Findings)
            {
                foreach (string line in finding.Message.Split('\n'))
                {
                    messages.WriteLine(PrintableText.Escape(line));
                }
            }

            long unshown = report.Corruptions + report.Leaks + report.CheckErrors - report.Findings.Count;
            if (unshown > 0)
            {
                messages.WriteLine($"{unshown} more of these");
            }

            if (parsed.GetValue(form) == OutputFormat.Json)
            {
                CheckOutput.WriteJson(report, path, output);
            }
            else
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
        });
        return command;
    }
}
