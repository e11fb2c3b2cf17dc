package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// provisioner gives every pending claim of its storage class a folder of this machine as a `local`
// PersistentVolume. Not hostPath: the kubelet applies fsGroup to local volumes only, and a
// non-root pod that writes to its claim is what the tests want to see.
type provisioner struct {
	client kubernetes.Interface
	name   string // of the provisioner, as storage classes and volumes carry it
	class  string // the storage class whose claims are served
	root   string // folder that holds the volumes
	node   string // the one node that has them
}

func runProvisioner() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of the cluster")
	p := provisioner{}
	flag.StringVar(&p.name, "name", "perfbench.io/local", "provisioner name, as in the storage class")
	flag.StringVar(&p.class, "storage-class", "standard", "storage class whose claims are served")
	flag.StringVar(&p.root, "root", "", "folder that holds the volumes")
	flag.StringVar(&p.node, "node", "node", "name of the node")
	flag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	p.client = kubernetes.NewForConfigOrDie(config)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	p.run(ctx)
}

// run watches until ctx ends. The resync repeats what failed; both reactions can be repeated safely.
func (p *provisioner) run(ctx context.Context) {
	factory := informers.NewSharedInformerFactory(p.client, 5*time.Second)
	handle := func(react func(context.Context, any) error) cache.ResourceEventHandlerFuncs {
		try := func(object any) {
			if err := react(ctx, object); err != nil {
				log.Print(err)
			}
		}
		return cache.ResourceEventHandlerFuncs{AddFunc: try, UpdateFunc: func(_, object any) { try(object) }}
	}
	claims := factory.Core().V1().PersistentVolumeClaims().Informer()
	volumes := factory.Core().V1().PersistentVolumes().Informer()
	_, _ = claims.AddEventHandler(handle(p.provision)) // fails only on a stopped informer
	_, _ = volumes.AddEventHandler(handle(p.reclaim))
	factory.Start(ctx.Done())
	<-ctx.Done()
}

// provision makes folder and volume for a claim that waits for one.
func (p *provisioner) provision(ctx context.Context, object any) error {
	claim := object.(*core.PersistentVolumeClaim)
	class := claim.Spec.StorageClassName
	waits := claim.Status.Phase == core.ClaimPending && claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil
	if !waits || class == nil || *class != p.class {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	folder := filepath.Join(p.root, name)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(folder, 0o777); err != nil { // MkdirAll's mode is less the umask
		return err
	}
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, p.volume(name, folder, claim), meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	log.Printf("claim %s/%s: made volume %s", claim.Namespace, claim.Name, name)
	return nil
}

// volume is bound to its claim from the start, so that the controller need not search for it.
func (p *provisioner) volume(name, folder string, claim *core.PersistentVolumeClaim) *core.PersistentVolume {
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": p.name},
		},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      claim.Spec.Resources.Requests,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			StorageClassName:              p.class,
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimDelete,
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: folder}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{MatchExpressions: []core.NodeSelectorRequirement{{
					Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{p.node},
				}}}},
			}},
		},
	}
}

// reclaim deletes volume and folder once the claim is gone.
func (p *provisioner) reclaim(ctx context.Context, object any) error {
	volume := object.(*core.PersistentVolume)
	ours := volume.Annotations["pv.kubernetes.io/provisioned-by"] == p.name
	ends := volume.Status.Phase == core.VolumeReleased || volume.Status.Phase == core.VolumeFailed
	if !ours || !ends || volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	// The name, not the path in the object: nothing outside root is ever deleted.
	if err := os.RemoveAll(filepath.Join(p.root, filepath.Base(volume.Name))); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
