using System.CommandLine;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>chain check</c>: which bitmaps are valid over a chain, and if not, why and where.</summary>
internal static class ChainCheckCommand
{
    public static Command Create(ToolWriter output, MessageWriter messages)
    {
        Argument<string> top = CommonOptions.File("TOP", "The top image");
        Option<string?> format = CommonOptions.Format("the top image");
        Option<bool> share = CommonOptions.ForceShare();
        Option<OutputFormat> form = CommonOptions.Output();
        var bitmap = new Option<string[]>("--bitmap")
        {
            Description = "Check this bitmap only, whether any image holds it or not. May be repeated",
            HelpName = "NAME",
        };
        var profile = new Option<VerdictProfile>("--profile")
        {
            Description = "Whose rules decide: libvirt's (default; the whole chain counts, a gap is told before flags) or oVirt's (the "
                + "chain ends at the first image that is not qcow2, flags are told before gaps, an image missing above is a gap)",
            HelpName = "libvirt|ovirt",
            CustomParser = static result =>
                CommonOptions.OneOf(result, ("libvirt", VerdictProfile.Libvirt), ("ovirt", VerdictProfile.Ovirt)),
        };
        Option<string[]> allowBacking = CommonOptions.AllowBacking();
        var command = new Command(
            "check",
            """
            Say of every bitmap of a backing chain whether it is valid, and if not, why, in which image, and what could be done.

            A bitmap is valid when it starts in the top image, reaches down without a gap, records in each image that holds it,
            and is consistent there: then it knows of every change since it was made.

            Exit codes: 0 all valid; 2 a bitmap is not valid, or (with -U) another process has an image open for writing, whose
            bitmaps may be in that process's memory; 1 error.
            """)
        {
            format, share, form, bitmap, profile, allowBacking, top,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var options = new ChainOpenOptions
            {
                Image = new Qcow2OpenOptions { Lock = parsed.GetValue(share) ? ImageLock.SharedRead : ImageLock.Read },
                TopFormat = parsed.GetValue(format),
                AllowedFolders = parsed.GetValue(allowBacking) ?? [],
            };
            await using ImageChain chain = await ImageChain
                .OpenAsync(parsed.GetRequiredValue(top), options, cancellationToken);
            messages.WarnOf(chain);
            await messages.WarnOfTruncationAsync(chain, withDataFiles: false, cancellationToken);
            messages.WarnOfRawTop(chain);
            IReadOnlyList<BitmapVerdict> verdicts = parsed.GetValue(bitmap) is { Length: > 0 } names
                ? await JudgeAsync(chain, names, parsed.GetValue(profile), cancellationToken)
                : await chain.JudgeBitmapsAsync(parsed.GetValue(profile), cancellationToken);
            if (parsed.GetValue(form) == OutputFormat.Json)
            {
                VerdictJson.Write(chain, verdicts, output);
            }
            else
            {
                new VerdictTable(output).Write(chain, verdicts);
            }

            // What is on disk says nothing of an image that somebody writes, not even that it has no bitmaps.
            return chain.OpenElsewhere is null && verdicts.All(static verdict => verdict.IsValid) ? ExitCode.Success : ExitCode.Invalid;
        });
        return command;
    }

    private static async ValueTask<IReadOnlyList<BitmapVerdict>> JudgeAsync(
        ImageChain chain, string[] names, VerdictProfile profile, CancellationToken cancellationToken)
    {
        var verdicts = new List<BitmapVerdict>();
        foreach (string name in names.Distinct(StringComparer.Ordinal))
        {
            verdicts.Add(await chain.JudgeBitmapAsync(name, profile, cancellationToken));
        }

        return verdicts;
    }
}
