using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
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
        Option<string[]> bitmap = CommonOptions.Repeatable(
            "--bitmap", "Check only this bitmap, even if no image holds it. Repeatable", "NAME");
        var profile = new Option<VerdictProfile>("--profile")
        {
            Description = "Use the rules of 'libvirt' (default) or 'ovirt'",
            HelpName = "libvirt|ovirt",
            CustomParser = static result =>
                CommonOptions.OneOf(result, ("libvirt", VerdictProfile.Libvirt), ("ovirt", VerdictProfile.Ovirt)),
        };
        Option<string[]> allowBacking = CommonOptions.AllowBacking();
        var command = new Command(
            "check",
            """
            Validate the bitmaps of a backing chain

            A bitmap is valid if the top image holds it, it reaches down without a gap,
            and it is recording and consistent in every image that holds it. Then it
            marks every change since it was added. For each bitmap that is not valid the
            reason, the image and a remedy are shown.

            libvirt's rules look at the whole chain and report a gap before flags. oVirt's
            rules end at the first image that is not qcow2, report flags before gaps, and
            count an image above without the bitmap as a gap.

            Exit codes: 0 all valid; 1 error; 2 a bitmap is not valid, or (with -U)
            another process writes an image and may have its bitmaps in memory.
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

            // If another process writes an image, its bitmaps on disk mean nothing, even if there are none.
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
